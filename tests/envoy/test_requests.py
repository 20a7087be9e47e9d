"""What a client's request may say, what is taken from it, and what Check gets to see."""

import contextlib

import pytest

from tests.envoy.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORGED = {
    "x-weft-destination": "127.0.0.1:1",
    "x-weft-fallback": "127.0.0.1:1",
    "x-weft-ticket": "forged",
    "x-weft-mesh": "forged",
    "x-weft-principal": "root",
    "x-weft-m": "forged",
    "x-weft-mode": "forged",
    "x-weft-models": "forged",
    "x-weft-modal": "forged",
    "X-Weft-": "forged",
}


async def test_internal_headers_from_outside_are_dropped(stack: Stack) -> None:
    answer = await stack.chat(("who",), headers=FORGED | {"X-Weft-Model": "llama"})

    seen_by_check = stack.gateway.checks[-1].attributes.request.http.headers
    seen_by_replica = stack.primary.calls[-1].metadata
    assert answer.json() == {"port": stack.primary.port}
    assert {k: v for k, v in seen_by_check.items() if k.startswith("x-weft-")} == {"x-weft-model": "llama"}
    assert {k: v for k, v in seen_by_replica.items() if k.startswith("x-weft-")} == {
        "x-weft-destination": stack.primary.address,
        "x-weft-fallback": stack.fallback.address,
        "x-weft-principal": "tester",
        "x-weft-model": "llama",
    }


async def test_internal_metadata_from_outside_is_dropped(stack: Stack) -> None:
    call = stack.rpc(("who",), metadata=tuple((key.lower(), value) for key, value in FORGED.items()))

    assert [message.delta async for message in call] == [f'{{"port": {stack.primary.port}}}']


async def test_headers_for_envoy_from_outside_are_dropped(stack: Stack) -> None:
    forged = {
        "x-envoy-max-retries": "0",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-original-path": "/x",
    }
    dead = {"x-weft-destination": "127.0.0.1:1"}

    answer = await stack.chat(("who",), headers=forged, check={"ok": dead})

    (line,) = await stack.log_lines(answer.headers["x-request-id"])
    seen_by_check = stack.gateway.checks[-1].attributes.request.http.headers
    assert answer.json() == {"port": stack.fallback.port}
    assert [name for name in forged if name in seen_by_check] == []
    assert line["path"] == "/v1/chat/completions"


async def test_keys_stay_out_of_replicas(stack: Stack) -> None:
    await stack.chat(("who",), headers={"authorization": "Bearer k", "x-api-key": "k", "cookie": "k=k"})

    seen_by_check = stack.gateway.checks[-1].attributes.request.http.headers
    assert seen_by_check["authorization"] == "Bearer k"
    assert stack.primary.calls[-1].metadata.keys() & {"authorization", "x-api-key", "cookie"} == set()


async def test_request_id_is_ours_and_reaches_check_and_replica(stack: Stack) -> None:
    answer = await stack.chat(("who",), headers={"x-request-id": "theirs"})

    request_id = answer.headers["x-request-id"]
    assert request_id != "theirs"
    assert stack.gateway.checks[-1].attributes.request.http.headers["x-request-id"] == request_id
    assert stack.primary.calls[-1].metadata["x-request-id"] == request_id


@pytest.mark.parametrize("path", ["/v1/models", "/nowhere", "/v1/models/missing"])
async def test_every_answer_has_the_clients_correlation_id(stack: Stack, path: str) -> None:
    answer = await stack.http1.get(path, headers={"x-correlation-id": "mine-1.2:3/4"})

    assert answer.headers["x-correlation-id"] == "mine-1.2:3/4"


@pytest.mark.parametrize("theirs", [None, "", "a b", 'a"b', "x" * 129, "é"])
async def test_without_a_sane_one_the_correlation_id_is_the_request_id(
    stack: Stack, theirs: str | None
) -> None:
    sent = {} if theirs is None else {"x-correlation-id": theirs.encode()}

    answer = await stack.http1.get("/v1/models", headers=sent)

    assert answer.headers["x-correlation-id"] == answer.headers["x-request-id"]


async def test_refusal_has_a_correlation_id(stack: Stack) -> None:
    deny = {"deny": {"status": 401, "headers": {"content-type": "application/json"}, "body": "{}"}}

    answer = await stack.chat(check=deny, headers={"x-correlation-id": "mine"})

    assert (answer.status_code, answer.headers["x-correlation-id"]) == (401, "mine")


async def test_check_sees_the_body_of_a_dialect_request(stack: Stack) -> None:
    await stack.chat(("who",))

    http = stack.gateway.checks[-1].attributes.request.http
    assert http.raw_body == stack.primary.calls[-1].body
    assert (http.method, http.path) == ("POST", "/v1/chat/completions")


async def test_check_sees_the_framed_message_of_a_typed_request(stack: Stack) -> None:
    await stack.rpc(("who",)).read()

    body = stack.gateway.checks[-1].attributes.request.http.raw_body
    assert body[:5] == bytes([0]) + (len(body) - 5).to_bytes(4)
    assert stack.primary.calls[-1].body in body


async def test_check_sees_headers_only_where_bodies_may_stream(stack: Stack) -> None:
    before = len(stack.gateway.checks)

    await stack.http1.post("/api/node/register", json={"name": "n"})

    (check,) = stack.gateway.checks[before:]
    assert (check.attributes.request.http.path, check.attributes.request.http.raw_body) == (
        "/api/node/register",
        b"",
    )


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("org/model/q8?unknown=1", "org/model/q8"),
        ("org%2Fmodel%2fq8", "org/model/q8"),
        ("org/a%252Fb", "org/a%2Fb"),
        ("m?id=other", "m"),
    ],
)
async def test_model_names_are_those_of_the_path_with_their_slashes(
    stack: Stack, path: str, name: str
) -> None:
    answer = await stack.http1.get(f"/v1/models/{path}")

    assert answer.json() == {"id": name}


async def test_doubled_slashes_are_forgiven(stack: Stack) -> None:
    answer = await stack.http1.get(f"{stack.envoy.url}//v1//models")

    assert answer.json() == {"object": "list", "data": []}


async def test_client_that_leaves_cancels_its_replica(stack: Stack) -> None:
    body = {"steps": {"*": [("send", "a"), ("wait", 60)]}}

    async with stack.http1.stream("POST", "/v1/chat/completions", json=body) as answer:
        with contextlib.suppress(StopAsyncIteration):
            await anext(answer.aiter_raw())

    await stack.primary.calls[-1].gone()


async def test_caller_that_cancels_before_the_first_message_cancels_its_replica(stack: Stack) -> None:
    before = len(stack.primary.calls)
    call = stack.rpc(("wait", 60))
    await stack.primary.called(before + 1)

    call.cancel()

    await stack.primary.calls[-1].gone()
