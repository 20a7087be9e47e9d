"""Bad input gets OpenAI's error object, whoever refuses it."""

import json
from typing import Any

import httpx
import pytest

from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e

PATH = "/v1/chat/completions"
GOOD = {"model": "weft-tiny", "messages": [{"role": "user", "content": "Hello"}]}


def error_of(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"].startswith("application/json"), response.text
    document = response.json()
    assert set(document) == {"error"}
    error: dict[str, Any] = document["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def test_an_unknown_model_is_404(stack: Stack) -> None:
    response = stack.chat("gpt-5")
    error = error_of(response)
    assert (response.status_code, error["code"]) == (404, "model_not_found")
    assert "gpt-5" in error["message"]


def test_malformed_json_is_400(stack: Stack) -> None:
    with stack.client() as client:
        response = client.post(PATH, content='{"model": "weft-tiny", "messages": [')
    assert response.status_code == 400
    assert "JSON" in error_of(response)["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": 9}, "temperature"),
        ({"stream": "yes"}, "stream"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"model": 5}, "model"),
        ({"n": 0}, "n"),
    ],
)
def test_a_wrong_type_is_400_and_names_the_field(stack: Stack, fields: dict[str, Any], param: str) -> None:
    with stack.client() as client:
        response = client.post(PATH, json={**GOOD, **fields})
    error = error_of(response)
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert str(error["param"]).startswith(param)


def test_a_missing_model_is_400(stack: Stack) -> None:
    with stack.client() as client:
        response = client.post(PATH, json={"messages": GOOD["messages"]})
    assert (response.status_code, error_of(response)["param"]) == (400, "model")


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic abc"}])
def test_a_missing_or_wrong_key_is_401(stack: Stack, headers: dict[str, str]) -> None:
    for method, path in (("POST", PATH), ("GET", "/v1/models")):
        response = httpx.request(
            method, f"{stack.url}{path}", headers=headers, json=GOOD if method == "POST" else None
        )
        assert (response.status_code, error_of(response)["code"]) == (401, "invalid_api_key")


def test_a_body_over_the_limit_is_413(stack: Stack) -> None:
    body = json.dumps({**GOOD, "padding": "x" * (65 << 20)})
    with stack.client() as client:
        response = client.post(PATH, content=body)
    assert response.status_code == 413
    error_of(response)


def test_a_large_body_below_the_limit_is_read(stack: Stack) -> None:
    body = json.dumps({**GOOD, "padding": "x" * (8 << 20), "max_tokens": 1})
    with stack.client() as client:
        assert client.post(PATH, content=body).status_code == 200


@pytest.mark.parametrize("path", ["/v1", "/v1/chat", "/v1/chat/completions/x", "/v2/models", "/favicon.ico"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_404(stack: Stack, path: str, method: str) -> None:
    with stack.client() as client:
        response = client.request(method, path, content=b"{}" if method == "POST" else None)
    assert response.status_code == 404
    error_of(response)


def test_a_prompt_beyond_the_context_is_400(stack: Stack) -> None:
    response = stack.chat(prompt="river stone " * 2000)
    assert (response.status_code, error_of(response)["code"]) == (400, "context_length_exceeded")


def test_a_wrong_method_is_refused_with_the_right_one(stack: Stack) -> None:
    with stack.client() as client:
        response = client.get(PATH)
    assert response.status_code in (400, 405)
    assert "method" in error_of(response)["message"]


def test_a_clients_own_routing_headers_have_no_effect(stack: Stack) -> None:
    evil = {
        "x-weft-destination": "127.0.0.1:1",
        "x-weft-fallback": "127.0.0.1:1",
        "x-weft-ticket": "v1.x.y",
        "x-weft-principal": "root",
        "x-envoy-max-retries": "9",
    }
    with stack.client() as client:
        assert client.post(PATH, json=GOOD, headers=evil).status_code == 200
        assert client.get("/v1/models", headers=evil).status_code == 200


def test_a_replicas_port_is_no_open_relay(stack: Stack) -> None:
    assert stack.chat().status_code == 200
    address = stack.part("replica:local/weft-tiny").address
    import grpc

    from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb

    with grpc.insecure_channel(address) as channel:
        call = channel.unary_stream(
            "/weft.inference.v1.InferenceService/Chat",
            request_serializer=pb.ChatRequest.SerializeToString,
            response_deserializer=pb.ChatResponse.FromString,
        )
        request = pb.ChatRequest(model="weft-tiny", messages=[pb.Message(role=pb.ROLE_USER, content="Hello")])
        with pytest.raises(grpc.RpcError) as caught:
            list(call(request, timeout=5))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_name_that_is_no_text_is_refused_in_words_of_the_dialect(stack: Stack) -> None:
    with stack.client() as client:
        response = client.get("/v1/models/%FF")
        theirs = client.get("/v1/models/%FF", headers={"anthropic-version": "2023-06-01"})
    assert response.status_code == theirs.status_code == 400
    for message in (error_of(response)["message"], theirs.json()["error"]["message"]):
        assert "UTF-8" in message
        assert "weft." not in message
    assert theirs.json()["type"] == "error"
