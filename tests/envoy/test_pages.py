"""Pages in browsers: those of origins that are named may call, and read what they need of any answer."""

import json

import pytest

from tests.envoy.stack import BODY_LIMIT, Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

KNOWN, UNKNOWN = {"origin": "https://chat.example"}, {"origin": "https://evil.example"}
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
REFUSED = {"check": json.dumps({"deny": {"status": 401, "headers": {}, "body": "{}"}})}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/rerank"])
async def test_a_preflight_names_what_may_be_sent(stack: Stack, path: str) -> None:
    answer = await stack.http1.options(path, headers=PREFLIGHT | KNOWN)

    told = {k.removeprefix("access-control-"): v for k, v in answer.headers.items() if "access-control" in k}
    assert told["allow-origin"] == KNOWN["origin"]
    # By the Fetch standard `*` does not stand for this one.
    assert {"authorization", "*"} == {name.strip() for name in told["allow-headers"].split(",")}
    assert {"POST", "GET", "OPTIONS"} <= {name.strip() for name in told["allow-methods"].split(",")}
    assert "allow-credentials" not in told, "keys are sent by the page, cookies by nobody"


async def test_an_origin_that_nobody_named_gets_nothing(stack: Stack) -> None:
    answers = [
        await stack.http1.options("/v1/chat/completions", headers=PREFLIGHT | UNKNOWN),
        await stack.chat(("who",), headers=UNKNOWN),
    ]
    assert [name for a in answers for name in a.headers if name.startswith(("access-control", "vary"))] == []


async def test_answers_and_refusals_can_be_read_with_their_ids(stack: Stack) -> None:
    large = b"x" * (BODY_LIMIT + 1)
    answers = [
        await stack.chat(("send", "{}"), headers=KNOWN),
        await stack.chat(headers=KNOWN | REFUSED),
        await stack.http1.get("/v1/models/missing", headers=KNOWN),
        await stack.http1.post("/api/chat", content=large, headers=KNOWN),
    ]
    assert [answer.status_code for answer in answers] == [200, 401, 404, 413]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == KNOWN["origin"]
        assert "origin" in answer.headers["vary"].lower(), "caches keep it for this origin only"
        exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
        assert {"x-request-id", "x-correlation-id", "request-id", "retry-after", "x-weft-node"} <= exposed
