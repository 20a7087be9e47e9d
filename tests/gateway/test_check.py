"""Check: each path's question, and its refusals."""

import hashlib
from pathlib import Path

import orjson
import pytest
from envoy.service.auth.v3 import external_auth_pb2
from prometheus_client import CollectorRegistry

from weft_common.clock import ManualClock
from weft_common.errors import ModelNotFound
from weft_common.mesh_auth import mesh_token
from weft_gateway.admission import Admitted
from weft_gateway.check import Check
from weft_gateway.keys import KeyRing
from weft_gateway.metrics import AdmissionMetrics
from weft_gateway.slot import Ask
from weft_proto.pb.weft.inference.v1.inference_service_pb2 import ChatRequest

KEY = "sk-alice"
AUTH = {"authorization": f"Bearer {KEY}"}


class FakeAdmission:
    async def admit(self, ask: Ask) -> Admitted:
        self.ask = ask
        if ask.model == "missing":
            raise ModelNotFound("The model 'missing' does not exist")
        if ask.lets_go:
            return Admitted({}, is_needless=True)
        if ask.lets_go:
            return Admitted({}, is_needless=True)
        destination = f"{ask.model}/{ask.principal.name}/{ask.request_id}"
        return Admitted({"x-weft-destination": destination}, {"x-weft-queue-position": "3"})


@pytest.fixture
def check(tmp_path: Path) -> Check:
    file = tmp_path / "keys.yaml"
    file.write_text(f"keys: [{{name: alice, sha256: {hashlib.sha256(KEY.encode()).hexdigest()}}}]")
    keys = KeyRing(file)
    keys.read()
    return Check(
        keys=keys,
        admission=FakeAdmission(),  # type: ignore[arg-type]  # a fake
        mesh_secret="ab" * 32,
        metrics=AdmissionMetrics(CollectorRegistry()),
        clock=ManualClock(),
    )


def a_request(
    path: str, *, method: str = "POST", body: bytes = b"", **headers: str
) -> external_auth_pb2.CheckRequest:
    request = external_auth_pb2.CheckRequest()
    http = request.attributes.request.http
    http.method, http.path, http.raw_body = method, path, body
    http.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return request


def passed(answer: external_auth_pb2.CheckResponse) -> dict[str, str]:
    assert answer.WhichOneof("http_response") == "ok_response"
    return {o.header.key: o.header.value for o in answer.ok_response.headers}


def refused(answer: external_auth_pb2.CheckResponse) -> tuple[int, str]:
    assert answer.WhichOneof("http_response") == "denied_response"
    return answer.denied_response.status.code, orjson.loads(answer.denied_response.body)["error"]["code"]


async def test_a_chat_goes_where_admission_says(check: Check) -> None:
    request = a_request("/v1/chat/completions", body=b'{"model": "m"}', x_request_id="req-1", **AUTH)
    assert passed(await check.check(request)) == {"x-weft-destination": "m/alice/req-1"}


async def test_admission_gets_the_beginning_of_the_conversation(check: Check) -> None:
    await check.check(a_request("/v1/chat/completions", body=b'{"model": "m", "messages": [1]}', **AUTH))
    assert check._admission.ask.prompt == b'"messages": [1]}'  # type: ignore[attr-defined]  # of the fake


async def test_a_typed_chat_goes_there_too(check: Check) -> None:
    message = ChatRequest(model="m").SerializeToString()
    body = b"\0" + len(message).to_bytes(4, "big") + message
    request = a_request(
        "/weft.inference.v1.InferenceService/Chat", body=body, content_type="application/grpc", **AUTH
    )
    assert passed(await check.check(request))["x-weft-destination"].startswith("m/alice")


async def test_before_a_large_body_the_key_counts_alone(check: Check) -> None:
    def asked(path: str, **headers: str) -> external_auth_pb2.CheckRequest:
        request = a_request(path, **headers)
        request.attributes.context_extensions["only"] = "key"
        return request

    chat, rpc = "/v1/chat/completions", "/weft.inference.v1.InferenceService/Chat"
    known = await check.check(asked(chat, **AUTH))
    assert passed(known) == {}
    assert not known.ok_response.response_headers_to_add
    assert refused(await check.check(asked(chat))) == (401, "invalid_api_key")
    assert refused(await check.check(asked(chat, authorization="Bearer wrong"))) == (401, "invalid_api_key")
    denied = (await check.check(asked(rpc, content_type="application/grpc"))).denied_response
    headers = {each.header.key: each.header.value for each in denied.headers}
    assert (denied.status.code, headers["grpc-status"]) == (200, "16")
    for content_type in ("application/proto", "application/grpc-web+proto", "application/connect+json"):
        denied = (await check.check(asked(rpc, content_type=content_type))).denied_response
        assert (denied.status.code, orjson.loads(denied.body)["code"]) == (401, "unauthenticated")


async def test_a_body_that_envoy_had_to_cut_is_too_large(check: Check) -> None:
    request = a_request("/v1/chat/completions", body=b'{"mod', x_envoy_auth_partial_body="true", **AUTH)
    assert refused(await check.check(request)) == (413, "body_too_large")


async def test_lists_and_reflection_need_a_key_only(check: Check) -> None:
    for path in ("/v1/models", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"):
        assert passed(await check.check(a_request(path, method="GET", **AUTH))) == {
            "x-weft-principal": "alice"
        }
        assert refused(await check.check(a_request(path, method="GET"))) == (401, "invalid_api_key")


async def test_an_admins_call_gets_the_meshs_token_and_nobody_elses_does(check: Check) -> None:
    request = a_request("/api/nodes/models/load", **AUTH)
    assert passed(await check.check(request))["x-weft-mesh"] == mesh_token("ab" * 32)
    denied = (await check.check(a_request("/api/nodes/models/load"))).denied_response
    assert (denied.status.code, orjson.loads(denied.body)["code"]) == (401, 16)
    assert "x-weft-mesh" not in passed(await check.check(a_request("/v1/models", **AUTH)))


async def test_workers_bring_a_token_of_their_own(check: Check) -> None:
    assert passed(await check.check(a_request("/api/node/register"))) == {}


@pytest.mark.parametrize(
    ("path", "method", "body", "refusal"),
    [
        ("/nowhere", "GET", b"", (404, "unknown_url")),
        ("/v1/chat/completions", "GET", b"", (405, "method_not_supported")),
        ("/v1/chat/completions", "POST", b"{", (400, None)),
        ("/v1/chat/completions", "POST", b'{"model": "missing"}', (404, "model_not_found")),
    ],
)
async def test_refusals(check: Check, path: str, method: str, body: bytes, refusal: tuple[int, str]) -> None:
    assert refused(await check.check(a_request(path, method=method, body=body, **AUTH))) == refusal


async def test_a_key_is_asked_for_before_the_body_is_read(check: Check) -> None:
    assert refused(await check.check(a_request("/v1/chat/completions", body=b"{")))[0] == 401


async def test_a_refused_call_has_a_grpc_status(check: Check) -> None:
    request = a_request(
        "/weft.inference.v1.InferenceService/Chat", content_type="application/grpc+proto", **AUTH
    )
    denied = (await check.check(request)).denied_response
    assert {o.header.key: o.header.value for o in denied.headers}["grpc-status"] == "3"


async def test_a_request_says_how_long_it_is_and_how_long_its_client_waits(check: Check) -> None:
    body = b'{"model": "m", "max_tokens": 5}'
    answer = await check.check(a_request("/v1/chat/completions", body=body, grpc_timeout="1500m", **AUTH))
    ask = check._admission.ask  # type: ignore[attr-defined]  # of the fake
    assert (ask.max_token_count, ask.patience) == (5, 1.5)
    (told,) = answer.ok_response.response_headers_to_add
    assert (told.header.key, told.header.value) == ("x-weft-queue-position", "3")


@pytest.mark.parametrize(("path", "said"), [("/api/chat", "message"), ("/api/generate?x=1", "response")])
async def test_a_model_that_is_not_loaded_need_not_be_unloaded(check: Check, path: str, said: str) -> None:
    body = b'{"model": "absent", "keep_alive": 0}'
    answer = await check.check(a_request(path, body=body, **AUTH))
    assert answer.WhichOneof("http_response") == "denied_response"
    assert answer.denied_response.status.code == 200
    told = orjson.loads(answer.denied_response.body)
    assert (told["model"], told["done"], told["done_reason"]) == ("absent", True, "unload")
    assert list(told) == ["model", "created_at", said, "done", "done_reason"]


async def test_a_compressed_body_is_refused_by_its_name(check: Check) -> None:
    request = a_request("/api/chat", body=b"\x1f\x8b", content_encoding="gzip", **AUTH)
    denied = (await check.check(request)).denied_response
    assert (denied.status.code, orjson.loads(denied.body)["error"].split(":")[0]) == (
        400,
        "Compressed bodies are not taken",
    )
