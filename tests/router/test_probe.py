"""Suspects: the dead are forgotten, the busy are not, and an answer is remembered where nobody else tells."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from tests.router.builders import a_model, a_node, a_replica
from tests.router.fake_store import FakeStore
from tests.router.fakes import CheckedJournal, FakeBus
from tests.router.loading.worlds import settings
from weft_common.clock import ManualClock
from weft_common.errors import InternalError, PartUnavailable
from weft_common.rpc import RpcServer
from weft_router.fleet.checkups import Finding
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.policy import Policy
from weft_router.probe import Probe, look_at
from weft_router.sync import FleetSync

REPLICA = a_replica()


@dataclass
class FakeLook:
    """Finds `finding` once its gate is open; keeps where it looked."""

    finding: Finding = Finding.SERVES
    error: Exception | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    looked: list[str] = field(default_factory=list)

    async def __call__(self, address: str) -> Finding:
        self.looked.append(address)
        await self.gate.wait()
        if self.error:
            raise self.error
        return self.finding


class World:
    """One replica on a node that nobody has heard."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.clock, self.store, self.fleet, self.look = ManualClock(), FakeStore(), Fleet(), FakeLook()
        self.look.gate.set()
        self.journal = CheckedJournal(self.clock)
        self.sync = FleetSync(self.store, FakeBus(), self.fleet)  # type: ignore[arg-type]  # a fake bus
        self.probe = Probe(
            settings=settings(),
            fleet=self.fleet,
            store=self.store,
            sync=self.sync,
            clock=self.clock,
            journal=self.journal,
            tasks=tasks,
            look=self.look,
        )

    async def ask(self) -> None:
        await self.probe.forget_dead([REPLICA.id])


@asynccontextmanager
async def a_world() -> AsyncIterator[World]:
    async with asyncio.TaskGroup() as tasks:
        world = World(tasks)
        await world.store.put_node(a_node())
        await world.store.put_models([a_model()], [])
        await world.store.put_replica(REPLICA)
        await world.sync.refresh()
        yield world
        world.probe.close()


async def test_the_dead_are_forgotten() -> None:
    async with a_world() as world:
        world.look.finding = Finding.DEAD
        await world.ask()
        assert world.fleet.replicas == {}
        await world.ask()
        assert world.look.looked == [REPLICA.address]


async def test_an_answer_is_remembered_for_half_a_minute() -> None:
    async with a_world() as world:
        for seconds, looks in ((0, 1), (30, 1), (1, 2), (1, 2)):
            world.clock.advance(seconds)
            await world.ask()
            assert len(world.look.looked) == looks
        assert world.fleet.replicas == {REPLICA.id: REPLICA}


async def test_an_answer_is_not_remembered_against_a_worker_that_reports() -> None:
    async with a_world() as world:
        await world.ask()
        world.fleet.hear(REPLICA.node_id, world.clock.monotonic())
        world.look.finding = Finding.DEAD
        await world.ask()
        assert world.fleet.replicas == {}


async def test_the_busy_are_kept_and_looked_at_again() -> None:
    async with a_world() as world:
        world.look.finding = Finding.BUSY
        await world.ask()
        await world.ask()
        assert world.look.looked == [REPLICA.address] * 2
        assert world.fleet.replicas == {REPLICA.id: REPLICA}


async def test_checks_at_the_same_time_are_one_and_outlive_whoever_asked_first() -> None:
    async with a_world() as world, asyncio.TaskGroup() as tasks:
        world.look.gate.clear()
        first, *others = [tasks.create_task(world.ask()) for _ in range(20)]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        assert not any(other.done() for other in others)
        world.look.gate.set()
        await asyncio.gather(*others)
        assert world.look.looked == [REPLICA.address]


async def test_a_request_and_the_monitor_share_a_check() -> None:
    async with a_world() as world, asyncio.TaskGroup() as tasks:
        world.look.gate.clear()
        world.look.finding = Finding.DEAD
        of_request, of_monitor = tasks.create_task(world.ask()), tasks.create_task(world.probe.ask(REPLICA))
        await asyncio.sleep(0)
        world.look.gate.set()
        await of_request
        assert (await of_monitor, world.look.looked) == (Finding.DEAD, [REPLICA.address])


async def test_a_good_answer_is_good_for_all_until_somebody_wants_a_new_one() -> None:
    async with a_world() as world:
        await world.ask()
        world.look.finding = Finding.BUSY
        assert await world.probe.ask(REPLICA) is Finding.SERVES
        assert await world.probe.ask(REPLICA, anew=True) is Finding.BUSY
        assert await world.probe.ask(REPLICA) is Finding.BUSY
        assert len(world.look.looked) == 3


async def test_the_answer_of_one_round_of_checks_does_not_do_for_the_next() -> None:
    async with a_world() as world:
        await world.probe.ask(REPLICA)
        world.clock.advance(20)
        await world.probe.ask(REPLICA)
        assert len(world.look.looked) == 1
        world.clock.advance(9.9)  # the next round begins, and the answer came a little after the question
        await world.probe.ask(REPLICA)
        assert len(world.look.looked) == 2


@pytest.mark.parametrize("change", [{"revision": "rev0"}, {"problem": "it hangs"}])
async def test_what_cannot_serve_the_request_is_not_asked(change: dict[str, str]) -> None:
    async with a_world() as world:
        await world.store.put_replica(replace(REPLICA, **change))  # type: ignore[arg-type]  # of strings
        await world.sync.refresh()
        await world.ask()
        assert world.look.looked == []


async def test_what_its_selector_no_longer_takes_is_not_asked() -> None:
    async with a_world() as world:
        await world.store.put_policy(Policy("m", {"zone": "eu"}))
        await world.sync.refresh()
        await world.ask()
        assert world.look.looked == []


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda world: setattr(world.store, "down", True), PartUnavailable),
        (lambda world: setattr(world.look, "error", RuntimeError("odd")), InternalError),
    ],
)
async def test_whoever_asks_hears_why_nothing_could_be_done(
    harm: Callable[[World], None], told: type[Exception]
) -> None:
    async with a_world() as world:
        world.look.finding = Finding.DEAD
        harm(world)
        with pytest.raises(told):
            await world.ask()
        world.store.down, world.look.error = False, None
        await world.ask()
        assert world.fleet.replicas == {}


async def test_a_port_that_refuses_is_dead() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert await look_at(f"127.0.0.1:{bound.getsockname()[1]}") is Finding.DEAD


async def test_a_process_that_takes_connections_and_says_nothing_is_busy() -> None:
    with socket.socket() as stopped:
        stopped.bind(("127.0.0.1", 0))
        stopped.listen()
        assert await look_at(f"127.0.0.1:{stopped.getsockname()[1]}") is Finding.BUSY


async def test_only_who_serves_serves() -> None:
    async with RpcServer([]) as server:
        address = f"127.0.0.1:{server.listen('127.0.0.1:0')}"
        await server.start()
        assert await look_at(address) is Finding.BUSY
        server.set_serving(True)
        assert await look_at(address) is Finding.SERVES
