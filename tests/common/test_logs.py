"""One line a record: JSON for machines, words for a person at a terminal."""

import json
import logging

from weft_common.logs import JsonLines, PlainLines


def record() -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": "registered", "levelname": "INFO", "created": 1.5})
    made.node_id = "n-1"
    return made


def test_machines_get_json() -> None:
    assert json.loads(JsonLines("worker").format(record())) == {
        "ts": 1.5,
        "level": "info",
        "part": "worker",
        "event": "registered",
        "node_id": "n-1",
    }


def test_a_person_gets_words() -> None:
    assert PlainLines().format(record()).split(" ", 1)[1] == "info registered node_id=n-1"
