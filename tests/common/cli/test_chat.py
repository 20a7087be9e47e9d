"""`weft chat` shows answers as they come, and says in words what went wrong."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from weft_common.cli.chat import Chat, run_chat
from weft_common.cli.client import CallFailed, Endpoint, Message
from weft_common.home import StartError


class Replica(BaseHTTPRequestHandler):
    """Answers every chat with what the server was told to, and keeps what it was asked."""

    server: "Fake"

    def do_GET(self) -> None:
        self._answer(200, json.dumps({"data": [{"id": model} for model in self.server.models]}))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/api/show":
            can = "embedding" if json.loads(body)["model"] in self.server.embedding_models else "completion"
            self._answer(200, json.dumps({"capabilities": [can]}))
            return
        self.server.asked.append((self.headers["authorization"], json.loads(body)))
        self._answer(self.server.status, self.server.body)

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


class Fake(ThreadingHTTPServer):
    """A Weft of a few lines. State: what it answers next, and what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Replica)
        self.models = ["tiny"]
        self.embedding_models: list[str] = []
        self.status = 200
        self.body = stream("Hel", "lo")
        self.asked: list[tuple[str, Any]] = []

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(f"http://127.0.0.1:{self.server_port}", "a key")


def stream(*pieces: str, end: str = "data: [DONE]\n\n") -> str:
    deltas = [{"role": "assistant"}, *({"content": piece} for piece in pieces)]
    events = [json.dumps({"choices": [{"delta": delta}]}) for delta in deltas]
    return "".join(f"data: {event}\n\n" for event in events) + end


@pytest.fixture
def fake() -> Iterator[Fake]:
    with Fake() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(fake: Fake) -> list[str]:
    return [piece for piece in fake.endpoint.answer("tiny", [Message("user", "Hi")]) if piece]


def test_answer_comes_in_pieces(fake: Fake) -> None:
    assert ask(fake) == ["Hel", "lo"]
    assert fake.asked == [
        ("Bearer a key", {"model": "tiny", "stream": True, "messages": [{"role": "user", "content": "Hi"}]})
    ]


def test_refusal_is_told_in_the_servers_words(fake: Fake) -> None:
    fake.status, fake.body = 404, json.dumps({"error": {"message": "no model tiny"}})

    with pytest.raises(CallFailed, match=r"no model tiny \(HTTP 404\)"):
        ask(fake)


def test_failure_within_the_stream_is_told(fake: Fake) -> None:
    fake.body = stream("Hel", end='data: {"error": {"message": "the engine broke"}}\n\n')

    with pytest.raises(CallFailed, match="the engine broke"):
        ask(fake)


def test_stream_without_its_end_is_a_failure(fake: Fake) -> None:
    fake.body = stream("Hel", end="")

    with pytest.raises(CallFailed, match="cut off"):
        ask(fake)


def test_nobody_there_is_told(fake: Fake) -> None:
    with pytest.raises(CallFailed, match="does not answer"):
        Endpoint("http://127.0.0.1:1", "").models()


def test_conversation_carries_its_turns(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    chat = Chat(fake.endpoint, "tiny", None)
    chat.ask("Hi")
    chat.ask("And?")

    assert [turn["content"] for turn in fake.asked[1][1]["messages"]] == ["Hi", "Hello", "And?"]
    assert capsys.readouterr().out == "Hello\nHello\n"


def test_answer_that_was_cut_short_is_no_turn(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> Iterator[str]:
        yield "Hel"
        raise KeyboardInterrupt

    chat = Chat(fake.endpoint, "tiny", None)
    with monkeypatch.context() as patch:
        patch.setattr(Endpoint, "answer", interrupted)
        assert not chat.ask("Hi")
    chat.ask("Again")

    assert [turn["content"] for turn in fake.asked[0][1]["messages"]] == ["Again"]


def test_one_question_goes_to_the_first_model(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.models = ["first", "second"]
    code = run_chat(tmp_path, None, "Hi", url=fake.endpoint.url, key="k", max_tokens=7)

    assert (code, capsys.readouterr().out) == (0, "Hello\n")
    assert (fake.asked[0][1]["model"], fake.asked[0][1]["max_tokens"]) == ("first", 7)


def test_a_model_that_makes_vectors_is_not_talked_to(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.models, fake.embedding_models = ["bge", "tiny"], ["bge"]
    assert run_chat(tmp_path, None, "Hi", url=fake.endpoint.url, key="k", max_tokens=7) == 0
    assert fake.asked[0][1]["model"] == "tiny"

    fake.models, fake.embedding_models = ["bge", "minilm"], ["bge", "minilm"]
    assert run_chat(tmp_path, None, "Hi", url=fake.endpoint.url, key="k", max_tokens=7) == 1
    assert "answers conversations: bge, minilm" in capsys.readouterr().err


def test_home_without_a_key_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="weft up"):
        run_chat(tmp_path, None, "Hi", url=None, key=None, max_tokens=None)
