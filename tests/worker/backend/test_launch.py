"""The launch document."""

from pathlib import Path

import orjson
import pytest
from pydantic import ValidationError

from tests.worker.backend.running_backend import launch_document
from weft_worker.backend.launch import LaunchDocument


def test_a_document_survives_its_line(tmp_path: Path) -> None:
    document = launch_document(tmp_path, options={"delay_ms": "5"}, orphan_seconds=7)
    assert document.to_line().count(b"\n") == 1
    assert LaunchDocument.from_line(document.to_line()) == document


def test_secrets_are_no_part_of_its_text(tmp_path: Path) -> None:
    document = launch_document(tmp_path)
    assert document.mesh_secret not in repr(document)
    assert document.lease_token not in repr(document)


@pytest.mark.parametrize(
    ("field", "value"),
    [("index", -1), ("lease_seconds", 0), ("mesh_secret", "xyz"), ("replica_id", ""), ("surprise", 1)],
)
def test_a_value_that_makes_no_sense_is_refused(tmp_path: Path, field: str, value: object) -> None:
    fields = orjson.loads(launch_document(tmp_path).to_line())
    with pytest.raises(ValidationError):
        LaunchDocument.from_line(orjson.dumps({**fields, field: value}))
