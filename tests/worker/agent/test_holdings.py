"""What replicas hold, as heartbeats tell it; the processes are real ones."""

import os
import sys
from datetime import timedelta

import pytest

from tests.worker.agent.fake_nvml import FakeNvml
from tests.worker.agent.fleet import Fleet, eventually
from weft_proto.weft.node.v1 import HeartbeatRequest
from weft_proto.weft.types.v1 import Device, ReplicaState

MIB = 2**20
GIB = 2**30


def device(beat: HeartbeatRequest, name: str = "cpu") -> Device:
    return next(device for device in beat.devices if device.id == name)


def states(beat: HeartbeatRequest) -> dict[str, ReplicaState]:
    return {replica.id: replica.state for replica in beat.replicas}


def memory_of(fleet: Fleet, replica_id: str) -> int:
    replica = fleet.router.replicas().get(replica_id)
    return replica.memory_bytes if replica else 0


async def ready(fleet: Fleet, replica_id: str, **changes: object) -> int:
    """Install a backend, have it say that it is ready, and return its pid."""
    replica = (await fleet.install(replica_id, **changes)).replica
    assert replica is not None
    await fleet.tell(replica.address, state={"state": "ready"})
    return replica.pid


async def test_a_replica_is_measured_as_soon_as_it_is_ready(fleet: Fleet) -> None:
    fleet.router.interval = timedelta(seconds=60)
    async with fleet.agent():
        await fleet.on_the_bus()
        await ready(fleet, "r-1")
        await eventually(
            lambda: [
                r
                for beat in fleet.router.heartbeats
                for r in beat.replicas
                if r.state is ReplicaState.READY and r.memory_bytes > MIB
            ],
            "a measured replica that is ready",
            1.0,
        )


async def test_the_heartbeat_that_tells_of_an_end_has_the_memory_that_came_free(fleet: Fleet) -> None:
    fleet.router.interval = timedelta(seconds=60)
    async with fleet.agent(memory_budget="512MiB"):
        await fleet.on_the_bus()
        await ready(fleet, "r-1")
        pid = await ready(fleet, "r-2", replica_index=1)
        await eventually(lambda: memory_of(fleet, "r-1") and memory_of(fleet, "r-2"), "measured replicas")
        os.kill(pid, 9)
        await eventually(lambda: list(fleet.router.replicas()) == ["r-1"], "one replica")
        ended = [beat for beat in fleet.router.heartbeats if states(beat).get("r-2") is ReplicaState.FAILED]
        last = fleet.router.heartbeats[-1]
        for beat in (ended[0], last):
            (held,) = (r.memory_bytes for r in beat.replicas if r.id == "r-1")
            assert 0 < device(beat).free_memory_bytes == 512 * MIB - held


async def test_on_gpus_it_is_their_memory_that_counts(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    async with fleet.agent():
        await fleet.on_the_bus()
        pid = await ready(fleet, "r-1", device_ids=["GPU-1", "GPU-2"])
        nvml.held = ({pid: 3 * GIB}, {pid: GIB, 1: 7 * GIB})
        await ready(fleet, "r-2", replica_index=1, device_ids=["cpu"])
        await eventually(lambda: memory_of(fleet, "r-1") == 4 * GIB, "GPU memory")
        await eventually(lambda: MIB < memory_of(fleet, "r-2") < GIB, "the machine's memory")
        beat = fleet.router.heartbeats[-1]
        assert [device(beat, f"GPU-{n}").free_memory_bytes for n in (1, 2)] == [97 * GIB, 92 * GIB]
