"""What an answer to a wrong body may be, in each dialect."""

import json
from collections.abc import Callable
from typing import Any

from tests.e2e.sdk import shapes
from tests.e2e.sdk.strict import Shape

Check = Callable[[bytes, str], None]
"""Takes a body and its content type; fails where it is not right."""


def one(shape: Shape) -> Check:
    """An object of this shape."""
    return lambda body, _: shape.check(json.loads(body))


def _events(body: bytes) -> list[tuple[str, Any]]:
    """Server-sent events with their names; comments keep a connection open and say nothing."""
    blocks = body.decode().split("\n\n")
    assert blocks.pop() == "", "the last event has no end"
    found = []
    for block in blocks:
        lines = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if lines:
            found.append((lines.get("event", ""), lines["data"]))
    return found


def openai(whole: Shape, chunk: Shape) -> Check:
    """An object, or server-sent events that end as they should."""

    def check(body: bytes, content_type: str) -> None:
        if not content_type.startswith("text/event-stream"):
            return whole.check(json.loads(body))
        datas = [data for _, data in _events(body)]
        assert datas.pop() == "[DONE]"
        for data in datas:
            chunk.check(json.loads(data))
        return None

    return check


def anthropic(body: bytes, content_type: str) -> None:
    """A message, or its events."""
    if not content_type.startswith("text/event-stream"):
        shapes.MESSAGE.check(json.loads(body))
        return
    events = [(name, json.loads(data)) for name, data in _events(body)]
    assert [name for name, _ in events] == [data["type"] for _, data in events]
    assert (events[0][0], events[-1][0]) == ("message_start", "message_stop")
    for name, data in events:
        if name != "ping":
            shapes.MESSAGE_EVENT.check(data)


def ollama(whole: Shape, piece: Shape) -> Check:
    """An object, or lines of which the last one is done."""

    def check(body: bytes, content_type: str) -> None:
        if b'"done_reason":"load"' in body or b'"done_reason":"unload"' in body:
            # Nothing was asked but that the model be there, or not.
            return piece.check(json.loads(body))
        if not content_type.startswith("application/x-ndjson"):
            return whole.check(json.loads(body))
        *pieces, last = map(json.loads, body.splitlines())
        for each in pieces:
            piece.check(each)
            assert each["done"] is False
        assert last["done"] is True
        return piece.check(last)

    return check


def ollama_error(body: bytes, _: str) -> None:
    """A refusal in Ollama's words."""
    told = json.loads(body)
    assert list(told) == ["error"], told
    assert isinstance(told["error"], str)


def jina_error(body: bytes, _: str) -> None:
    """A refusal in Jina's."""
    assert isinstance(json.loads(body)["detail"], str)


def cohere_error(body: bytes, _: str) -> None:
    """A refusal in Cohere's."""
    assert isinstance(json.loads(body)["message"], str)


def ranked(body: bytes, _: str) -> None:
    """Scores, best first."""
    scores = [each["relevance_score"] for each in json.loads(body)["results"]]
    assert scores == sorted(scores, reverse=True)


def tokens(body: bytes, _: str) -> None:
    """Numbers of tokens."""
    assert all(isinstance(token, int) for token in json.loads(body)["tokens"])
