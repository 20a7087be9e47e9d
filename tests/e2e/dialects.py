"""How each dialect asks for a stream, and how its parts look on the wire."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Shape = Callable[[str], dict[str, Any]]


def conversation(words: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": words}]}


def prompt(words: str) -> dict[str, Any]:
    return {"prompt": words}


def anthropic(words: str) -> dict[str, Any]:
    return conversation(words) | {"max_tokens": 64}


def inputs(words: str) -> dict[str, Any]:
    return {"input": words}


def query(words: str) -> dict[str, Any]:
    return {"query": words, "documents": ["a", "b"]}


@dataclass(frozen=True)
class Surface:
    """A path that takes a body; `end` and `beat` are of its streams, where it has any."""

    path: str
    body: Shape
    # Which of its fields to spoil, and with what; everything that is no such field is tolerated.
    wrong: Mapping[str, Any]
    purpose: str = "chat"
    end: str = ""
    beat: str = ""

    @property
    def name(self) -> str:
        return self.path.strip("/").replace("/", "-")


_SSE_BEAT = ": still working"
STREAMS = [
    Surface("/v1/chat/completions", conversation, {"messages": 3}, end="data: [DONE]", beat=_SSE_BEAT),
    Surface("/v1/completions", prompt, {"prompt": {}}, end="data: [DONE]", beat=_SSE_BEAT),
    Surface("/v1/messages", anthropic, {"messages": 3}, end="event: message_stop", beat="event: ping"),
    Surface("/api/chat", conversation, {"messages": 3}, end='"done":true', beat='"content":""'),
    Surface("/api/generate", prompt, {"prompt": 3}, end='"done":true', beat='"response":""'),
]
SURFACES = [
    *STREAMS,
    Surface("/v1/messages/count_tokens", conversation, {"messages": 3}),
    Surface("/v1/embeddings", inputs, {"input": {}}, purpose="vectors"),
    Surface("/api/embed", inputs, {"input": {}}, purpose="vectors"),
    Surface("/api/embeddings", prompt, {"prompt": 3}, purpose="vectors"),
    Surface("/v1/rerank", query, {"documents": 3}, purpose="vectors"),
    Surface("/v2/rerank", query, {"documents": 3}, purpose="vectors"),
    Surface("/v1/tokenize", lambda words: {"content": words}, {"content": 3}),
]


def error_message(path: str, body: str) -> str:
    """The words of an error, which has to be in the shape of the path's dialect and nothing more."""
    said = json.loads(body)
    if path.startswith("/v1/messages"):
        assert set(said) == {"type", "error", "request_id"}
        assert (said["type"], set(said["error"])) == ("error", {"type", "message"})
        return str(said["error"]["message"])
    if path.startswith("/api/"):
        assert set(said) == {"error"}
        return str(said["error"])
    if path == "/v1/rerank":
        assert set(said) == {"detail"}
        return str(said["detail"])
    if path == "/v2/rerank":
        assert set(said) == {"id", "message"}
        return str(said["message"])
    assert set(said) == {"error"}
    assert set(said["error"]) == {"message", "type", "param", "code"}
    return str(said["error"]["message"])


def events(text: str) -> list[str]:
    """The pieces of a stream: events of SSE, or lines."""
    return [piece for piece in text.replace("\n\n", "\n").splitlines() if piece]
