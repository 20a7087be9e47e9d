"""What a node's report changes: only what it says of itself, and nothing by silence about other things."""

import asyncio
import hashlib

import pytest

from tests.router.builders import a_node, a_replica
from tests.router.fake_store import FakeStore
from tests.router.fakes import FakeBus
from tests.router.loading.worlds import settings
from weft_common.clock import ManualClock
from weft_common.errors import InvalidRequest
from weft_proto.weft.node.v1 import HeartbeatRequest
from weft_router import convert
from weft_router.fleet.entities import ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.registry import Reconciled, Registry, reconcile, resolve
from weft_router.sync import FleetSync

NONE: frozenset[str] = frozenset()
LOADING = a_replica(state=ReplicaState.LOADING, address="")


def test_a_report_without_news_changes_nothing() -> None:
    row = a_replica()
    assert reconcile([row], [row], loading_here=NONE, spare=NONE) == Reconciled()


def test_a_replica_that_the_worker_no_longer_runs_is_gone() -> None:
    assert reconcile([a_replica()], [], loading_here=NONE, spare=NONE) == Reconciled(gone=("r-1",))


def test_a_running_replica_without_a_row_is_adopted() -> None:
    running = a_replica()
    assert reconcile([], [running], loading_here=NONE, spare=NONE) == Reconciled(write=(running,))


def test_a_load_that_ended_while_its_router_was_away_counts() -> None:
    ready = a_replica()
    assert reconcile([LOADING], [ready], loading_here=NONE, spare=NONE) == Reconciled(write=(ready,))


def test_the_row_of_a_load_under_way_here_is_left_to_the_load() -> None:
    here = frozenset({"r-1"})
    assert reconcile([LOADING], [], loading_here=here, spare=NONE) == Reconciled()
    assert reconcile([LOADING], [a_replica()], loading_here=here, spare=NONE) == Reconciled()


def test_a_load_of_another_router_is_not_missed_while_it_is_young() -> None:
    assert reconcile([LOADING], [], loading_here=NONE, spare=frozenset({"r-1"})) == Reconciled()


def test_only_what_was_asked_to_unload_is_stopped() -> None:
    rows = [a_replica("r-1", state=ReplicaState.UNLOADING), a_replica("r-2", index=1)]
    running = [a_replica("r-1"), a_replica("r-2", index=1), a_replica("r-3", index=2)]
    assert reconcile(rows, running, loading_here=NONE, spare=NONE).stop == ("r-1",)


def test_a_replica_that_still_loads_or_failed_is_not_adopted() -> None:
    for state in (ReplicaState.LOADING, ReplicaState.FAILED):
        assert reconcile([], [a_replica(state=state)], loading_here=NONE, spare=NONE) == Reconciled()


@pytest.mark.parametrize(
    ("address", "literal"),
    [
        ("10.0.0.1:50051", "10.0.0.1:50051"),
        ("[::1]:50051", "[::1]:50051"),
        ("localhost:1", "127.0.0.1:1"),
    ],
)
async def test_addresses_become_literals(address: str, literal: str) -> None:
    assert await resolve(address) in (literal, "[::1]:1")


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:port", "no.such.host.invalid:1"])
async def test_addresses_that_cannot_be_dialled_are_refused(address: str) -> None:
    with pytest.raises(InvalidRequest, match="address"):
        await resolve(address)


async def test_a_heartbeat_reaches_gateways_without_a_database() -> None:
    store, fleet, clock = FakeStore(), Fleet(), ManualClock()
    sync = FleetSync(store, FakeBus(), fleet)  # type: ignore[arg-type]  # a fake bus
    registry = Registry(settings=settings(), fleet=fleet, store=store, sync=sync, clock=clock)
    token = "node-token"
    await store.put_node(a_node(token_sha256=hashlib.sha256(token.encode()).digest()))
    await store.put_replica(a_replica())
    await sync.refresh()
    watch = sync.watch(clock.monotonic())
    assert not (await anext(watch)).heard
    store.down = True
    running = convert.replica_message(a_replica())
    await registry.heartbeat(HeartbeatRequest(id="n-one", replicas=[running]), token, NONE)
    async with asyncio.timeout(2):
        assert [h.node_id for h in (await anext(watch)).heard] == ["n-one"]
