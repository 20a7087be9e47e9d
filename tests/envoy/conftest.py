"""One Envoy for the whole run; replicas that are killed come fresh."""

import contextlib
from collections.abc import AsyncIterator

import grpc
import httpx
import pytest
import pytest_asyncio

from tests.envoy.fakes import FakeGateway, FakeReplica, FakeRouter
from tests.envoy.stack import DEADLINE_SECONDS, KillablePart, Stack, killable_part, running_envoy


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    primary, fallback, router = FakeReplica(), FakeReplica(), FakeRouter()
    async with contextlib.AsyncExitStack() as cleanup:
        for part in (primary, fallback, router):
            await part.start()
            cleanup.push_async_callback(part.stop)
        gateway = FakeGateway(
            {
                "x-weft-destination": primary.address,
                "x-weft-fallback": fallback.address,
                "x-weft-principal": "tester",
            }
        )
        await gateway.start()
        cleanup.push_async_callback(gateway.stop)
        envoy = await cleanup.enter_async_context(
            running_envoy(
                tmp_path_factory.mktemp("envoy"),
                router.port,
                gateway.port,
                cors_origins=("https://chat.example",),
            )
        )
        clients = [
            await cleanup.enter_async_context(
                httpx.AsyncClient(base_url=envoy.url, http1=not h2, http2=h2, timeout=DEADLINE_SECONDS)
            )
            for h2 in (False, True)
        ]
        channel = await cleanup.enter_async_context(grpc.aio.insecure_channel(envoy.address))
        yield Stack(envoy, gateway, router, primary, fallback, clients[0], clients[1], channel)


@pytest_asyncio.fixture(loop_scope="session")
async def killable() -> AsyncIterator[KillablePart]:
    async with killable_part("replica") as part:
        yield part


@pytest_asyncio.fixture(loop_scope="session")
async def killable_gateway(stack: Stack) -> AsyncIterator[KillablePart]:
    async with killable_part("gateway", stack.primary.address) as part:
        yield part
