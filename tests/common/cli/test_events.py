"""`weft events` tells readable lines, and follows on over the end of whoever tells it."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import typer
from google.protobuf.json_format import MessageToDict

from weft_common.cli import events
from weft_common.cli.client import Endpoint
from weft_common.cli.events import Question, question_of, run_events
from weft_proto.pb.weft.admin.v1.event_service_pb2 import WatchEventsRequest, WatchEventsResponse
from weft_proto.pb.weft.types.v1.event_pb2 import EVENT_KIND_EVICTION, EVENT_KIND_NODE, Event

UNAUTHENTICATED = b"grpc-status:16\r\ngrpc-message:Invalid%20key\r\n"
UNAVAILABLE = b"grpc-status:14\r\ngrpc-message:This router ends\r\n"


def an_event(sequence: int, **fields: Any) -> Event:
    values: dict[str, Any] = {
        "id": f"e-{sequence}",
        "kind": EVENT_KIND_NODE,
        "what": "node_left",
        "why": "bye",
    }
    event = Event(sequence=sequence, **(values | fields))
    event.time.FromJsonString("2026-11-20T10:00:00Z")
    return event


def frame(payload: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(payload).to_bytes(4, "big") + payload


@dataclass
class FakeWeft:
    """Answers one list, and each watch with the next of `streams`; state: what was asked."""

    latest: list[Event] = field(default_factory=list)
    # Events, and how the stream ends: with trailers, or cut off.
    streams: list[tuple[list[Event], bytes | None]] = field(default_factory=list)
    listed: list[dict[str, list[str]]] = field(default_factory=list)
    watched: list[WatchEventsRequest] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    url: str = ""

    def answer_list(self, path: str) -> bytes:
        self.listed.append(parse_qs(urlsplit(path).query))
        found = [MessageToDict(e, preserving_proto_field_name=True) for e in self.latest]
        return json.dumps({"events": [{"model": "", "node": "", "details": {}} | e for e in found]}).encode()

    def answer_watch(self, body: bytes) -> bytes:
        self.watched.append(WatchEventsRequest.FromString(body[5:]))
        told, end = self.streams.pop(0)
        frames = b"".join(frame(WatchEventsResponse(event=e).SerializeToString()) for e in told)
        return frames + (frame(end, 0x80) if end is not None else b"\0\0")


def handler_of(weft: FakeWeft) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(weft.answer_list(self.path), "application/json")

        def do_POST(self) -> None:
            assert self.path == "/weft.admin.v1.EventService/WatchEvents"
            body = self.rfile.read(int(self.headers["content-length"]))
            self._answer(weft.answer_watch(body), self.headers["content-type"])

        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self, body: bytes, kind: str) -> None:
            weft.keys.add(self.headers["authorization"])
            self.send_response(200)
            self.send_header("content-type", kind)
            self.end_headers()
            self.wfile.write(body)

    return Handler


@pytest.fixture
def weft() -> Iterator[FakeWeft]:
    made = FakeWeft()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(made)) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_RETRY_SECONDS", (0.0,))


def run(
    weft: FakeWeft, question: Question | None = None, *, follow: bool = False, as_json: bool = True
) -> int:
    endpoint = Endpoint(weft.url, "sk-1")
    return run_events(endpoint, question or Question(), follow=follow, as_json=as_json)


def told(capsys: pytest.CaptureFixture[str]) -> list[int]:
    return [int(json.loads(line)["sequence"]) for line in capsys.readouterr().out.splitlines()]


def test_a_line_says_when_what_about_whom_and_why(weft: FakeWeft, capsys: pytest.CaptureFixture[str]) -> None:
    details = {"for_model": "b", "for_replica": "r-2", "idle_seconds": "4.5"}
    weft.latest = [
        an_event(
            7,
            kind=EVENT_KIND_EVICTION,
            what="evicted",
            why="costs\nleast [really]",
            model="a",
            node="one",
            details=details,
        )
    ]
    assert run(weft, as_json=False) == 0
    line = capsys.readouterr().out
    assert line.endswith(
        "eviction evicted           a on one: costs least [really]  for_model=b idle_seconds=4.5\n"
    )
    assert line.startswith("2026-11-2")


def test_where_nothing_happened_that_is_said(weft: FakeWeft, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(weft, as_json=False) == 0
    assert capsys.readouterr().out == "Nothing of that kind has happened.\n"
    assert run(weft) == 0
    assert capsys.readouterr().out == ""


def test_filters_are_the_apis(weft: FakeWeft) -> None:
    run(weft, question_of("load, eviction", "team/m", "one", "90s", 7))
    assert weft.listed == [
        {
            "page_size": ["7"],
            "filter.kinds": ["EVENT_KIND_LOAD", "EVENT_KIND_EVICTION"],
            "filter.model": ["team/m"],
            "filter.node": ["one"],
            "max_age": ["90.000s"],
        }
    ]


@pytest.mark.parametrize(("kinds", "since"), [("weather", None), (None, "soon")])
def test_what_cannot_be_asked_is_said(kinds: str | None, since: str | None) -> None:
    with pytest.raises(typer.BadParameter):
        question_of(kinds, None, None, since, 50)


def test_a_follower_goes_on_after_the_last_event_however_a_stream_ends(
    weft: FakeWeft, capsys: pytest.CaptureFixture[str]
) -> None:
    weft.latest = [an_event(3)]
    weft.streams = [
        ([an_event(4), an_event(9)], None),
        ([], UNAVAILABLE),
        ([an_event(10)], b"grpc-status:0\r\n"),
        ([], UNAUTHENTICATED),
    ]
    assert run(weft, Question(kinds=("node",), model="m"), follow=True) == 1
    said = capsys.readouterr()
    assert [int(json.loads(line)["sequence"]) for line in said.out.splitlines()] == [3, 4, 9, 10]
    assert [request.after_sequence for request in weft.watched] == [3, 9, 9, 10]
    assert all(list(r.filter.kinds) == [EVENT_KIND_NODE] and r.filter.model == "m" for r in weft.watched)
    assert not any(request.HasField("max_age") for request in weft.watched)
    assert said.err.splitlines()[-1] == "weft: Invalid key"
    assert weft.keys == {"Bearer sk-1"}


def test_a_follower_that_has_seen_nothing_goes_on_from_when_it_began(
    weft: FakeWeft, capsys: pytest.CaptureFixture[str]
) -> None:
    weft.streams = [([], None), ([an_event(2)], None), ([], UNAUTHENTICATED)]
    assert run(weft, Question(count=0), follow=True) == 1
    assert told(capsys) == [2]
    assert weft.listed == []
    ages = [request.max_age.ToNanoseconds() for request in weft.watched]
    assert 0 <= ages[0] <= ages[1]
    assert [request.after_sequence for request in weft.watched] == [0, 0, 2]


def test_control_c_is_no_failure(weft: FakeWeft, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(events, "_follow", interrupted)
    assert run(weft, follow=True) == 0


def test_a_weft_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_events(Endpoint("http://127.0.0.1:1", "k"), Question(), follow=True, as_json=True) == 1
    assert "does not answer" in capsys.readouterr().err
