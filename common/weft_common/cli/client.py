"""A client of a Weft as small as it can be: JSON and server-sent events over the standard library."""

import contextlib
import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

# A cold model may load for a minute before the first byte, and a long queue may come before that.
_TIMEOUT_SECONDS = 600.0


class CallFailed(Exception):
    """What was asked cannot be answered; the message says why in the server's words."""


class CallRefused(CallFailed):
    """The server answered with an error; `status` is that of HTTP."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A Weft to talk to."""

    url: str
    key: str

    def models(self) -> tuple[str, ...]:
        """Return the names of the models that this key may use."""
        with self._request("GET", "/v1/models") as answer:
            return tuple(str(model["id"]) for model in json.loads(answer.read())["data"])

    def chats(self, model: str) -> bool:
        """Whether it answers conversations, as other models make vectors or scores."""
        with self._request("POST", "/api/show", {"model": model}) as answer:
            return "completion" in json.loads(answer.read())["capabilities"]

    def answer(
        self, model: str, messages: Sequence[Message], *, max_tokens: int | None = None
    ) -> Iterator[str]:
        """Yield the answer piece by piece; leaving early ends it at the server too."""
        body: dict[str, object] = {
            "model": model,
            "stream": True,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
        }
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        with self._request("POST", "/v1/chat/completions", body) as answer:
            for data in _events(answer):
                if data == "[DONE]":
                    return
                yield _piece(data)
        raise CallFailed("the answer was cut off: the replica that wrote it is gone")

    def order(self, path: str, body: Mapping[str, object]) -> dict[str, object]:
        """Post an admin's order and return what came of it."""
        return self.call("POST", path, body)

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, object]:
        """Call the admin API and return its answer, {} if there is none."""
        with self._request(method, path, body) as answer:
            outcome: dict[str, object] = json.loads(answer.read() or b"{}")
            return outcome

    @contextlib.contextmanager
    def _request(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            if not 200 <= answer.status < 300:
                raise CallRefused(_reason(answer.status, answer.read()), answer.status)
            yield answer
        except (OSError, http.client.HTTPException) as error:
            raise CallFailed(f"{self.url} does not answer: {error or type(error).__name__}") from error
        finally:
            connection.close()


def _events(answer: http.client.HTTPResponse) -> Iterator[str]:
    for raw in answer:
        line = raw.decode(errors="replace").rstrip("\r\n")
        if line.startswith("data:"):
            yield line.removeprefix("data:").strip()


def _piece(data: str) -> str:
    event = json.loads(data)
    if "error" in event:
        raise CallFailed(str(event["error"].get("message", event["error"])))
    choices = event.get("choices") or [{}]
    return str((choices[0].get("delta") or {}).get("content") or "")


def _reason(status: int, body: bytes) -> str:
    try:
        document = json.loads(body)
        # Foreign dialects wrap an error in `error`; our own APIs answer with google.rpc.Status.
        return f"{document.get('error', document)['message']} (HTTP {status})"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"HTTP {status}: {body[:200].decode(errors='replace')}"
