"""A pending node never receives anything, by any sequence of API calls."""

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.router.builders import a_model
from tests.router.fake_store import FakeStore
from tests.router.fakes import FakeBus
from tests.router.nodes.world import Router, a_device, calling, registration, running
from weft_common.clock import ManualClock
from weft_common.errors import WeftError
from weft_proto.weft.admin.v1 import (
    ApproveNodeRequest,
    DeleteNodeRequest,
    DrainNodeRequest,
    LoadModelRequest,
    PatchNodeLabelsRequest,
    ResetMaxReplicasPerModelRequest,
    ResumeNodeRequest,
    SetMaxReplicasPerModelRequest,
    UnloadModelRequest,
)
from weft_proto.weft.node.v1 import (
    DeregisterNodeRequest,
    HeartbeatRequest,
    HeartbeatResponse,
    RegisterNodeResponse,
)
from weft_proto.weft.node.v1 import DrainNodeRequest as OwnDrainRequest
from weft_proto.weft.node.v1 import ResumeNodeRequest as OwnResumeRequest
from weft_router.fleet.entities import NodeState

T = TypeVar("T")
NAMES = st.sampled_from(["one", "two"])
ROUTERS = st.integers(0, 1)
RUNNING = st.lists(st.integers(0, 1), unique=True, max_size=2)
SHORT = timedelta(milliseconds=5)


class RecordingBus(FakeBus):
    """Nobody answers; keeps what was asked of whom."""

    async def request(self, subject: str, payload: bytes, timeout_seconds: float) -> bytes:
        self.published.append(subject)
        return await super().request(subject, payload, timeout_seconds)


class Tasks:
    """A parent for loads that lives as long as the machine's runner."""

    def create_task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return asyncio.get_running_loop().create_task(work)


class Approval(RuleBasedStateMachine):
    """Two routers, two workers that also lie, admins, outages and time; `approved` are ids that an admin let in."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.store, self.bus = FakeStore(clock=self.clock.monotonic), RecordingBus()
        self.approved: set[str] = set()
        self.memberships: dict[str, list[tuple[str, str]]] = {"one": [], "two": []}
        self.routers = self.runner.run(self.started())

    def teardown(self) -> None:
        for router in self.routers:
            router.loads.close()
        self.runner.close()

    async def started(self) -> list[Router]:
        await self.store.put_models([a_model()], [])
        made = [
            Router(Tasks(), self.store, self.bus, self.clock, load_wait=SHORT)  # type: ignore[arg-type]
            for _ in range(2)
        ]
        for router in made:
            await router.sync.refresh()
        return made

    def attempt(self, call: Awaitable[T]) -> T | None:
        """Make a call that may be refused."""

        async def made() -> T | None:
            with contextlib.suppress(WeftError):
                return await call
            return None

        return self.runner.run(made())

    @rule(name=NAMES, at=ROUTERS, replicas=RUNNING)
    def register(self, name: str, at: int, replicas: list[int]) -> None:
        request = registration(name, replicas=[running(f"r-{name}-{i}", index=i) for i in replicas])
        answer = self.attempt(calling("join", self.routers[at].workers.register_node, request))
        if isinstance(answer, RegisterNodeResponse):
            assert answer.node is not None
            self.memberships[name].append((answer.node.id, answer.node_token))
            if answer.node.id not in self.approved:
                assert (answer.nats_url, answer.mesh_secret) == ("", "")

    @rule(name=NAMES, at=ROUTERS, which=st.integers(0, 3), replicas=RUNNING)
    def heartbeat(self, name: str, at: int, which: int, replicas: list[int]) -> None:
        node_id, token = self.membership(name, which)
        reported = [running(f"r-{name}-{i}", index=i) for i in replicas]
        request = HeartbeatRequest(id=node_id, devices=[a_device()], replicas=reported)
        answer = self.attempt(calling(token, self.routers[at].workers.heartbeat, request))
        if isinstance(answer, HeartbeatResponse) and node_id not in self.approved:
            assert answer.stop_replica_ids == []

    @rule(
        name=NAMES,
        at=ROUTERS,
        which=st.integers(0, 3),
        call=st.sampled_from(
            [
                ("drain_node", OwnDrainRequest),
                ("resume_node", OwnResumeRequest),
                ("deregister_node", DeregisterNodeRequest),
            ]
        ),
    )
    def worker_asks(self, name: str, at: int, which: int, call: tuple[str, Any]) -> None:
        node_id, token = self.membership(name, which)
        method, request = call
        self.attempt(calling(token, getattr(self.routers[at].workers, method), request(id=node_id)))

    @rule(
        name=NAMES,
        at=ROUTERS,
        call=st.sampled_from(
            [
                ("drain_node", DrainNodeRequest, {}),
                ("drain_node", DrainNodeRequest, {"timeout": timedelta(0)}),
                ("resume_node", ResumeNodeRequest, {}),
                ("patch_node_labels", PatchNodeLabelsRequest, {"labels": {"zone": "a"}}),
                ("set_max_replicas_per_model", SetMaxReplicasPerModelRequest, {"value": 2}),
                ("reset_max_replicas_per_model", ResetMaxReplicasPerModelRequest, {}),
                ("delete_node", DeleteNodeRequest, {}),
            ]
        ),
    )
    def admin_asks(self, name: str, at: int, call: tuple[str, Any, dict[str, Any]]) -> None:
        method, request, fields = call
        self.attempt(getattr(self.routers[at].admin, method)(request(id=name, **fields)))

    @rule(name=NAMES, at=ROUTERS)
    def approve(self, name: str, at: int) -> None:
        answer = self.attempt(self.routers[at].admin.approve_node(ApproveNodeRequest(id=name)))
        if answer is not None and answer.node is not None:
            self.approved.add(answer.node.id)

    @rule(node=st.sampled_from([None, "one", "two"]), at=ROUTERS)
    def load(self, node: str | None, at: int) -> None:
        self.attempt(self.routers[at].admin.load_model(LoadModelRequest(model_name="m", node=node)))

    @rule(at=ROUTERS, force=st.booleans())
    def unload(self, at: int, force: bool) -> None:
        self.attempt(self.routers[at].admin.unload_model(UnloadModelRequest(model_name="m", force=force)))

    @rule(seconds=st.sampled_from([1, 10, 40, 100]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(at=ROUTERS)
    def loops_turn(self, at: int) -> None:
        keep = self.routers[at].keep
        self.attempt(keep.ages.tell())
        self.attempt(keep.health.turn())
        self.attempt(keep.drains.look())

    @rule(down=st.booleans())
    def the_database_comes_and_goes(self, down: bool) -> None:
        self.store.down = down

    @invariant()
    def nobody_is_let_in_but_by_an_admin(self) -> None:
        for _, node in self.store.nodes.values():
            if node is not None and node.id not in self.approved:
                assert (node.state, node.approved) == (NodeState.PENDING, False)

    @invariant()
    def nothing_is_sent_to_who_is_not_let_in(self) -> None:
        asked = {s.split(".")[2] for s in self.bus.published if s.startswith("weft.node.")}
        assert asked <= self.approved

    @invariant()
    def nothing_is_placed_or_served_there(self) -> None:
        for _, replica in self.store.replicas.values():
            assert replica is None or replica.node_id in self.approved
        for router in self.routers:
            assert {r.node_id for r in router.fleet.ready_replicas("m")} <= self.approved

    def membership(self, name: str, which: int) -> tuple[str, str]:
        """An identity that the worker got, an old one too; made up if it has none."""
        known = self.memberships[name]
        return known[-1 - which % len(known)] if known else ("n-nobody", "token")


TestApproval = Approval.TestCase
TestApproval.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
