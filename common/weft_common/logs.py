"""Decisions and failures as JSON lines on stderr; never payloads, prompts or secrets."""

import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar

import orjson

request_id: ContextVar[str] = ContextVar("request_id", default="")

_STANDARD = frozenset(vars(logging.makeLogRecord({})))


class JsonLines(logging.Formatter):
    """One JSON object a line: ts, level, part, event, request_id, and what the call passed as `extra`."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": round(record.created, 3),
            "level": record.levelname.lower(),
            "part": self._part,
            "event": record.getMessage(),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        line.update(_extra(record))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class PlainLines(logging.Formatter):
    """The same for a person at a terminal: time, level, event, and `key=value` for the rest."""

    def format(self, record: logging.LogRecord) -> str:
        words = [self.formatTime(record, "%H:%M:%S"), record.levelname.lower(), record.getMessage()]
        words += [f"{key}={value}" for key, value in _extra(record).items()]
        text = " ".join(words)
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def configure(part: str, level: str = "INFO") -> None:
    """Send this process's log to stderr under the part's name; called once, in `__main__`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainLines() if sys.stderr.isatty() else JsonLines(part))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {k: v for k, v in vars(record).items() if k not in _STANDARD and k != "taskName"}


def decision(logger: logging.Logger, event: str, fields: Mapping[str, object]) -> None:
    """Log one decision at info; `event` is a constant such as `placement_rejected`."""
    logger.info(event, extra=dict(fields))
