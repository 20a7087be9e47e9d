"""gRPC on the same port: reflection, and the typed API as a token stream."""

import json

import pytest

from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e

CHAT = "/weft.inference.v1.InferenceService/Chat"
SERVICES = {
    "weft.inference.v1.InferenceService",
    "weft.dialect.v1.OpenAIService",
    "weft.node.v1.NodeService",
    "weft.routing.v1.RoutingService",
    "weft.backend.v1.BackendService",
}


def test_reflection_lists_every_service(stack: Stack) -> None:
    done = stack.buf_curl("", "--list-services")
    assert done.returncode == 0, done.stderr
    assert {*SERVICES, "grpc.health.v1.Health"} <= set(done.stdout.split())


def test_reflection_needs_a_key(stack: Stack) -> None:
    done = stack.buf_curl("", "--list-services", key="wrong")
    assert done.returncode != 0
    assert "not authenticated" in done.stderr


def test_chat_streams_tokens(stack: Stack) -> None:
    request = {
        "model": "weft-tiny",
        "messages": [{"role": "ROLE_USER", "content": "What is the capital of France?"}],
        "sampling": {"temperature": 0},
    }
    done = stack.buf_curl(CHAT, "-d", json.dumps(request))
    assert done.returncode == 0, done.stderr
    decoder, text, events = json.JSONDecoder(), done.stdout.strip(), []
    while text:
        event, end = decoder.raw_decode(text)
        events.append(event)
        text = text[end:].lstrip()
    assert len(events) > 2
    assert "Paris" in "".join(e.get("delta", "") for e in events)
    assert events[-1]["finish"]["reason"] == "FINISH_REASON_STOP"


def test_an_unknown_model_is_not_found(stack: Stack) -> None:
    done = stack.buf_curl(
        CHAT, "-d", '{"model": "gpt-5", "messages": [{"role": "ROLE_USER", "content": "x"}]}'
    )
    assert done.returncode != 0
    error = json.loads(done.stderr)
    assert error["code"] == "not_found"
    assert error["details"][0]["type"] == "google.rpc.ErrorInfo"


def test_a_bad_field_is_an_invalid_argument(stack: Stack) -> None:
    done = stack.buf_curl(CHAT, "-d", '{"model": "weft-tiny"}')
    assert json.loads(done.stderr)["code"] == "invalid_argument"


@pytest.mark.parametrize("service", ["", *sorted(SERVICES)])
def test_health_is_served_for_every_service(stack: Stack, service: str) -> None:
    done = stack.buf_curl("/grpc.health.v1.Health/Check", "-d", json.dumps({"service": service}))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "SERVING"
