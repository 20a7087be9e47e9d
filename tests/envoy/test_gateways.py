"""Gateways that are missing, die or come back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import pytest

from tests.envoy.fakes import FakeGateway
from tests.envoy.stack import DEADLINE_SECONDS, KillablePart, Stack, free_port, running_envoy

pytestmark = pytest.mark.asyncio(loop_scope="session")


@contextlib.asynccontextmanager
async def envoy_with(stack: Stack, folder: Path, *gateways: int) -> AsyncIterator[httpx.AsyncClient]:
    """Run another Envoy with these gateways, and yield a client of it."""
    async with (
        running_envoy(folder, stack.router.port, *gateways) as envoy,
        httpx.AsyncClient(base_url=envoy.url, timeout=DEADLINE_SECONDS) as client,
    ):
        yield client


async def test_without_a_gateway_it_is_503_and_never_403(stack: Stack, tmp_path: Path) -> None:
    async with envoy_with(stack, tmp_path, free_port(), free_port()) as client:
        answers = [await stack.chat(client=client), await client.get("/v1/models")]
        async with grpc.aio.insecure_channel(client.base_url.netloc.decode()) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/weft.inference.v1.InferenceService/Chat")(b"")

    message = "No gateway answers. Try again shortly."
    error = {"message": message, "type": "server_error", "param": None, "code": "part_unavailable"}
    for answer in answers:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json() == {"error": error}
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNAVAILABLE, message)


async def test_one_live_gateway_is_enough(stack: Stack, tmp_path: Path) -> None:
    async with envoy_with(stack, tmp_path, free_port(), stack.gateway.port) as client:
        answers = await asyncio.gather(*[stack.chat(("who",), client=client) for _ in range(20)])

    assert {answer.status_code for answer in answers} == {200}


async def test_gateway_that_appears_is_asked(stack: Stack, tmp_path: Path) -> None:
    gateway = FakeGateway({"x-weft-destination": stack.primary.address})
    port = free_port()
    async with envoy_with(stack, tmp_path, port) as client:
        before = await stack.chat(("who",), client=client)
        await gateway.start(port)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (await stack.chat(("who",), client=client)).status_code != 200:
                await asyncio.sleep(0.05)  # Envoy reconnects in its own time
    await gateway.stop()

    assert before.status_code == 503


async def test_gateway_that_is_killed_while_it_thinks_is_replaced(
    stack: Stack, killable_gateway: KillablePart, tmp_path: Path
) -> None:
    slow = {"wait": 0.3}
    async with (
        running_envoy(tmp_path, stack.router.port, killable_gateway.port, stack.gateway.port) as envoy,
        httpx.AsyncClient(base_url=envoy.url, timeout=DEADLINE_SECONDS) as client,
        asyncio.TaskGroup() as group,
    ):
        requests = [group.create_task(stack.chat(("who",), check=slow, client=client)) for _ in range(8)]
        await envoy.until("cluster.gateways.upstream_rq_active", 8)
        killable_gateway.process.kill()

    assert {request.result().status_code for request in requests} == {200}


async def test_one_gateway_gets_every_question_as_long_as_it_lives(
    stack: Stack, killable_gateway: KillablePart, tmp_path: Path
) -> None:
    before = len(stack.gateway.checks)
    async with envoy_with(stack, tmp_path, stack.gateway.port, killable_gateway.port) as client:
        answers = await asyncio.gather(*[stack.chat(("who",), client=client) for _ in range(20)])

    assert {answer.status_code for answer in answers} == {200}
    assert len(stack.gateway.checks) == before + 20


async def test_slow_answer_of_a_gateway_is_waited_for(stack: Stack) -> None:
    answer = await stack.chat(("who",), check={"wait": 1.2})

    assert answer.status_code == 200


async def test_client_that_leaves_ends_its_check(stack: Stack) -> None:
    before = len(stack.gateway.checks)
    stack.gateway.left.clear()
    call = stack.rpc(("who",), check={"wait": 60})
    await stack.gateway.called(before + 1)

    call.cancel()

    await asyncio.wait_for(stack.gateway.left.wait(), DEADLINE_SECONDS)
