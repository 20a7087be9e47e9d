"""Who announces a large body without a key is told so before it comes, and stands in nobody's way."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.stack import BUF, Stack

pytestmark = pytest.mark.e2e

DEADLINE_SECONDS = 30.0
PATH = "/v1/chat/completions"
# More than there are places for bodies of 10 MB with 4 GiB: 8.
CROWD = 12
HUGE = 11_000_000
PROTO = Path(__file__).parents[2] / "proto"


@contextmanager
def announced(stack: Stack, *headers: str) -> Iterator[socket.socket]:
    """A request of whose body one byte has been sent, which may as well begin the size of a piece."""
    host, _, port = stack.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), DEADLINE_SECONDS) as raw:
        head = (f"POST {PATH} HTTP/1.1", "host: weft", "content-type: application/json", *headers)
        raw.sendall("\r\n".join(head).encode() + b"\r\n\r\n1")
        yield raw


def told(raw: socket.socket) -> tuple[int, str]:
    """Status and code of the answer's error."""
    with raw.makefile("rb") as answer:
        head = b"".join(iter(answer.readline, b"\r\n")).decode().lower()
        if head.startswith("http/1.1 100"):
            head = b"".join(iter(answer.readline, b"\r\n")).decode().lower()
        assert "x-correlation-id: " in head
        length = next(line for line in head.splitlines() if line.startswith("content-length"))
        error = json.loads(answer.read(int(length.partition(":")[2])))["error"]
        return int(head.split()[1]), error["code"]


@pytest.mark.parametrize(
    "size", ["content-length: 60000000", "content-length: 1000000", "transfer-encoding: chunked"]
)
@pytest.mark.parametrize("key", ["x-nothing: at all", "authorization: Bearer wrong", "x-api-key: wrong"])
def test_strangers_are_told_before_their_bodies_come_and_take_no_place(
    stack: Stack, size: str, key: str
) -> None:
    with ExitStack() as open_sockets:
        crowd = [open_sockets.enter_context(announced(stack, size, key)) for _ in range(CROWD)]
        assert [told(raw) for raw in crowd] == [(401, "invalid_api_key")] * CROWD
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, "padding": "x" * HUGE}
        with stack.client() as client:
            answer = client.post(PATH, json={"model": "weft-tiny", **body})
        assert answer.status_code == 200, answer.text


def test_who_asks_first_is_told_as_early(stack: Stack) -> None:
    with announced(stack, "content-length: 60000000", "expect: 100-continue") as raw:
        assert told(raw) == (401, "invalid_api_key")


def test_what_is_too_large_by_its_own_word_is_told_before_it_comes(stack: Stack) -> None:
    key = f"authorization: {stack.headers['authorization']}"
    for headers in ((key,), ()):
        with announced(stack, "content-length: 70000000", *headers) as raw:
            assert told(raw) == (413, "body_too_large")


@pytest.mark.parametrize("protocol", ["grpc", "connect", "grpcweb"])
def test_rpcs_are_refused_in_their_protocols(stack: Stack, tmp_path: Path, protocol: str) -> None:
    large = tmp_path / "request.json"
    large.write_text(json.dumps({"model": "missing", "text": "x" * 2_000_000}))
    words = ("--schema", str(PROTO), "--protocol", protocol, "--http2-prior-knowledge", "--data", f"@{large}")
    for key, code in (("wrong", "unauthenticated"), (stack.key, "not_found")):
        auth = f"authorization: Bearer {key}"
        url = f"{stack.url}/weft.inference.v1.InferenceService/Tokenize"
        said = subprocess.run(
            [BUF, "curl", *words, "--header", auth, url],
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert f'"code": "{code}"' in said.stdout + said.stderr
