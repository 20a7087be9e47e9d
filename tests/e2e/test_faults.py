"""What clients see when parts die, and that the parts come back."""

import json
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.stack import Stack, eventually

pytestmark = pytest.mark.e2e


def paced(stack: Stack, name: str, **options: object) -> str:
    stack.add_model(name, options={k: str(v) for k, v in options.items()}, parallel=4)
    return name


def assert_served_again(stack: Stack, model: str) -> None:
    """At once, or when the refusal said: for 10 to 20 ms a gateway does not know that the only replica is gone."""
    answer = stack.chat(model, max_tokens=2)
    if answer.status_code == 503:
        refused = (answer.json()["error"]["code"], answer.headers["retry-after"])
        assert refused == ("part_unavailable", "1"), answer.text
        time.sleep(1)
        answer = stack.chat(model, max_tokens=2)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("http2", [False, True])
def test_a_killed_backend_is_a_transport_error_and_the_next_request_works(stack: Stack, http2: bool) -> None:
    model = paced(stack, f"killed-{http2}".lower(), delay_ms=20, tokens=500)
    seen = b""
    with pytest.raises(httpx.RemoteProtocolError), stack.stream(model, http2=http2) as pieces:
        for piece in pieces:
            if not seen:
                stack.part(f"replica:{stack.part('worker-').name.removeprefix('worker-')}/{model}").kill()
                killed = time.monotonic()
            seen += piece
    assert time.monotonic() - killed < 1.0
    assert b"[DONE]" not in seen
    assert_served_again(stack, model)


def test_an_engine_that_fails_in_mid_stream_says_so_in_band(stack: Stack) -> None:
    model = paced(stack, "failing", delay_ms=1, tokens=20, fail_at=5)
    with stack.stream(model) as pieces:
        text = b"".join(pieces).decode()
    events = [e for e in text.split("\n\n") if e]
    assert '"error"' in events[-1]
    assert "[DONE]" not in text
    assert stack.chat(model, max_tokens=2).status_code == 200


def test_a_stream_goes_on_while_every_gateway_and_router_is_stopped(stack: Stack) -> None:
    model = paced(stack, "alone", delay_ms=20, tokens=100)
    assert stack.chat(model, max_tokens=1).status_code == 200
    parts = [*stack.parts("gateway-"), *stack.parts("router-")]
    assert len(parts) >= 3
    text = b""
    with stack.stream(model) as pieces:
        text += next(pieces)
        for part in parts:
            part.kill(signal.SIGSTOP)
        try:
            text += b"".join(pieces)
        finally:
            for part in parts:
                part.kill(signal.SIGCONT)
    assert text.rstrip().endswith(b"data: [DONE]")
    assert text.count(b'"content":"t') >= 99


def test_scripts_see_what_the_tests_see(stack: Stack) -> None:
    assert stack.chat(max_tokens=1).status_code == 200
    printed = stack.weft("status", "--json")
    assert printed.returncode == 0
    assert json.loads(printed.stdout) == stack.status()
    kinds = {part["name"].split("-")[0].split(":")[0] for part in stack.status()["parts"]}
    assert kinds == {"postgres", "nats", "envoy", "router", "gateway", "worker", "replica"}


def test_dead_parts_are_back_within_seconds(stack: Stack) -> None:
    for name in ("gateway-0", "router-0", "nats"):
        before = stack.part(name)
        before.kill()
        eventually(
            lambda name=name, before=before: [
                p for p in stack.parts(name) if p.pid != before.pid and p.state == "ready"
            ],
            what=f"{name} back",
        )
        assert stack.chat(max_tokens=2).status_code == 200


def test_killed_weft_up_leaves_nothing_behind_for_the_next(own_stack: Stack) -> None:
    own_stack.up()
    assert own_stack.chat(max_tokens=2).status_code == 200
    before = {p.pid for p in own_stack.parts()}
    supervisor = json.loads((own_stack.home / "run" / "lock").read_text())["pid"]
    os.kill(supervisor, signal.SIGKILL)
    own_stack.up()
    assert own_stack.chat(max_tokens=2).status_code == 200
    after = {p.pid for p in own_stack.parts()}
    assert not (before & after)
    eventually(lambda: not [pid for pid in before if Path(f"/proc/{pid}").exists()], what="old parts gone")
