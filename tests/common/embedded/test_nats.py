"""The embedded broker: one token, JetStream files that outlive it."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator

import nats

from weft_common.embedded.nats import nats_part, nats_url
from weft_common.home import Home
from weft_common.ports import load_ports
from weft_common.supervisor import PartChanged, Supervisor

DEADLINE = 10.0


@contextlib.asynccontextmanager
async def serving(home: Home, news: list[PartChanged] | None = None) -> AsyncIterator[str]:
    port = load_ports(home, single=("nats",))["nats"]
    part = nats_part(home, host="127.0.0.1", port=port, token="a token")
    report = (news if news is not None else []).append
    supervisor = Supervisor([part], records=home.parts, report=report)
    async with supervisor.running():
        await supervisor.ready(DEADLINE)
        yield nats_url("127.0.0.1", port, "a token")


async def test_broker_takes_only_those_who_know_the_token(home: Home) -> None:
    async with serving(home):
        port = load_ports(home, single=("nats",))["nats"]
        stranger = nats_part(home, host="127.0.0.1", port=port, token="another")

        assert not await stranger.ready()


async def test_config_with_the_token_is_private(home: Home) -> None:
    async with serving(home):
        assert (home.nats / "nats.conf").stat().st_mode & 0o777 == 0o600


async def test_stream_outlives_a_killed_broker(home: Home) -> None:
    news: list[PartChanged] = []
    async with serving(home, news) as url:
        client = await nats.connect(url)
        await client.jetstream().add_stream(name="USAGE", subjects=["usage"])
        await client.jetstream().publish("usage", b"kept")
        await client.close()
        os.kill(next(change.pid for change in news if change.pid), signal.SIGKILL)
        async with asyncio.timeout(DEADLINE):
            while [change.state for change in news].count("ready") < 2:
                await asyncio.sleep(0.01)
        client = await nats.connect(url)
        message = await client.jetstream().get_msg("USAGE", 1)
        await client.close()

    assert message.data == b"kept"


def test_url_of_a_v6_address_has_brackets() -> None:
    assert nats_url("::1", 4222, "t") == "nats://t@[::1]:4222"
