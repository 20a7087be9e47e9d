"""Commands over the bus and what becomes of the processes."""

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.worker.agent.fleet import Fleet, eventually
from weft_common.process import alive, start_time
from weft_proto.weft.types.v1 import Model, Replica, ReplicaState


async def installed(fleet: Fleet, replica_id: str = "r-1", **changes: object) -> Replica:
    response = await fleet.install(replica_id, **changes)
    assert response.error == ""
    assert response.replica is not None
    return response.replica


async def test_an_installed_backend_listens_and_is_on_record(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        replica = await installed(fleet)
        host, port = replica.address.rsplit(":", 1)
        socket.create_connection((host, int(port))).close()

        def recorded() -> dict[str, Any] | None:
            found = fleet.record()
            return found if found and found["address"] else None

        record = await eventually(recorded, "its address on record, which a thread writes down")
        shown = {name: record[name] for name in ("name", "pid", "start_time", "state", "address")}
        assert shown == {
            "name": "replica:here/m#0",
            "pid": replica.pid,
            "start_time": start_time(replica.pid),
            "state": "starting",
            "address": replica.address,
        }
        assert (fleet.state_dir / "replicas" / "r-1.json").stat().st_mode & 0o777 == 0o600
        assert os.getsid(replica.pid) == replica.pid != os.getsid(0)
        environment = Path(f"/proc/{replica.pid}/environ").read_bytes()
        assert b"WEFT_" not in environment


async def test_the_same_operation_answers_with_the_same_process(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        together = await asyncio.gather(installed(fleet), installed(fleet))
        later = await installed(fleet)
        assert len({replica.pid for replica in (*together, later)}) == 1


async def test_replicas_listen_on_the_ports_after_the_agents(fleet: Fleet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with fleet.agent(addr=f"127.0.0.1:{port}"):
        await fleet.on_the_bus()
        replica = await installed(fleet)
        assert port < int(replica.address.rsplit(":", 1)[1]) < port + 20


async def test_a_backend_that_dies_while_it_starts_is_an_error_with_its_last_words(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        response = await fleet.install(options={"die": "3"})
        assert response.replica is None
        assert "ended with exit code 3" in response.error
        assert "the weights are rotten" in response.error
        await eventually(lambda: fleet.record() is None, "no record")
        assert (await fleet.install(options={"die": "3"})).error == response.error


async def test_a_backend_that_says_nothing_is_killed(fleet: Fleet) -> None:
    async with fleet.agent(install_timeout="0.5"):
        await fleet.on_the_bus()
        response = await fleet.install(options={"mute": "yes"})
        assert "did not serve within 0.5 s" in response.error
        await eventually(lambda: fleet.record() is None, "no record")


async def test_an_impossible_model_is_refused_by_name(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        response = await fleet.install(model=None)
        assert response.error.startswith("name: ")


async def test_commands_of_an_older_generation_are_refused(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        await installed(fleet, generation=9)
        assert "generation 8" in (await fleet.install("r-2", generation=8)).error
        assert "generation 8" in (await fleet.stop("r-1", generation=8)).error
        assert fleet.record("r-1") is not None


async def test_a_backends_state_travels_with_the_heartbeat(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        replica = await installed(fleet)
        await fleet.tell(replica.address, state={"state": "ready"})
        await eventually(
            lambda: fleet.router.replicas().get("r-1", replica).state is ReplicaState.READY, "a ready replica"
        )
        await eventually(lambda: fleet.router.replicas()["r-1"].memory_bytes > 2**20, "what it holds")
        record = fleet.record()
        assert record is not None
        assert record["state"] == "ready"


async def test_a_backends_load_travels_on_the_bus(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        replica = await installed(fleet)
        picks = [{"gateway_id": "g", "contiguous": 4, "beyond": [6]}]
        await fleet.tell(replica.address, load={"in_flight": 2, "queued": 1, "picks": picks})
        await fleet.tell(replica.address, load={"in_flight": 1, "queued": 0})
        await eventually(
            lambda: [r for r in fleet.reports if r.replicas and r.replicas[0].in_flight_count == 1], "loads"
        )
    loads = [load for report in fleet.reports for load in report.replicas]
    assert {load.replica_id for load in loads} == {"r-1"}
    assert loads[0].in_flight_count in (1, 2)
    sequences = [report.sequence for report in fleet.reports]
    assert sequences == sorted(set(sequences))
    assert len({(report.node_id, report.agent_id) for report in fleet.reports}) == 1


async def test_a_killed_backend_is_reported_as_failed_and_then_gone(fleet: Fleet) -> None:
    fleet.router.interval = type(fleet.router.interval)(seconds=60)
    async with fleet.agent():
        await fleet.on_the_bus()
        replica = await installed(fleet)
        await eventually(lambda: "r-1" in fleet.router.replicas(), "the replica")
        os.kill(replica.pid, signal.SIGKILL)
        await eventually(lambda: not fleet.router.replicas(), "no replica", 1.0)
        states = [beat.replicas[0].state for beat in fleet.router.heartbeats if beat.replicas]
        assert states[-1] is ReplicaState.FAILED
        await eventually(lambda: fleet.record() is None, "no record")
        await eventually(lambda: [r for r in fleet.reports if "r-1" in r.gone_replica_ids], "gone on the bus")


async def test_a_backend_that_ends_by_itself_is_told_with_its_last_words(
    fleet: Fleet,
) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        replica = await installed(fleet)
        await fleet.tell(replica.address, exit=5, say="out of memory")
        await eventually(lambda: fleet.record() is None, "no record")
        repeated = await fleet.install()
        assert "code 5" in repeated.error
        assert "out of memory" in repeated.error


async def test_a_stopped_replica_is_gone_and_no_failure(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        replica = await installed(fleet)
        assert (await fleet.stop("r-1")).found
        assert not alive(replica.pid, start_time(replica.pid) or 1)
        await eventually(lambda: not fleet.router.replicas(), "no replica")
        states = {r.state for beat in fleet.router.heartbeats for r in beat.replicas}
        assert ReplicaState.FAILED not in states
        assert not (await fleet.stop("r-1")).found


async def test_a_backend_that_does_not_listen_to_a_stop_is_killed(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        replica = await installed(fleet, options={"deaf": "yes"})
        assert (await fleet.stop("r-1", force=True)).found
        assert start_time(replica.pid) is None


async def test_a_drained_replica_gets_its_time_unless_it_is_forced(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        replica = await installed(fleet, options={"deaf": "yes"})
        assert (await fleet.stop("r-1", force=False)).found
        await eventually(
            lambda: fleet.router.replicas().get("r-1", replica).state is ReplicaState.UNLOADING, "unloading"
        )
        assert start_time(replica.pid) is not None
        assert (await fleet.stop("r-1", force=True)).found
        assert start_time(replica.pid) is None


async def test_a_stop_ends_a_backend_that_still_starts(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        async with asyncio.TaskGroup() as tasks:
            starting = tasks.create_task(fleet.install(options={"mute": "yes"}))
            await eventually(lambda: fleet.record() is not None, "a process")
            assert (await fleet.stop("r-1")).found
        assert starting.result().error != ""


async def test_a_replica_whose_own_watchdog_should_have_ended_it_is_killed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weft_worker.agent.supervisor._SWEEP_SECONDS", 0.02)
    async with fleet.agent(watchdog_busy="true", watchdog_busy_timeout="60s"):
        await fleet.on_the_bus()
        others, replica = await installed(fleet, "r-1"), await installed(fleet, "r-2", replica_index=1)
        started = start_time(replica.pid) or 0
        await fleet.tell(others.address, load={"in_flight": 1, "queued": 0, "busy_seconds": 30})
        await fleet.tell(replica.address, load={"in_flight": 1, "queued": 0, "busy_seconds": 61})
        assert alive(replica.pid, started)
        await eventually(lambda: not alive(replica.pid, started), "the end of its process")
        assert alive(others.pid, start_time(others.pid) or 0)


async def end_of(fleet: Fleet, replica: Replica) -> str:
    """Wait for the process's end and hear why it ended."""
    await eventually(lambda: fleet.record() is None, "no record")
    return (await fleet.install()).error


async def test_the_signal_that_ended_a_process_is_told(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        replica = await installed(fleet)
        os.kill(replica.pid, signal.SIGSEGV)
        assert (await end_of(fleet, replica)).startswith("its process was ended by SIGSEGV")


@pytest.mark.parametrize(
    ("kernel", "words"), [(True, "(SIGKILL): out of memory"), (False, "killed by SIGKILL, not by its worker")]
)
async def test_a_kill_that_is_not_ours_is_told_by_what_the_kernel_counts(
    fleet: Fleet, tmp_path: Path, kernel: bool, words: str
) -> None:
    group = tmp_path / "cgroup"
    inside = Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].splitlines()[0]
    events = group / inside / "memory.events"
    events.parent.mkdir(parents=True)
    events.write_text("oom 0\noom_kill 4\n")
    async with fleet.agent(cgroup_root=group):
        await fleet.on_the_bus()
        replica = await installed(fleet)
        if kernel:
            events.write_text("oom 1\noom_kill 5\n")
        os.kill(replica.pid, signal.SIGKILL)
        assert words in await end_of(fleet, replica)


async def test_a_kill_of_ours_is_told_as_ours(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        replica = await installed(fleet, options={"deaf": "yes"})
        await fleet.stop("r-1")
        assert "it did not end when it was told to, nor by SIGTERM" in await end_of(fleet, replica)


async def test_a_model_that_crashes_again_and_again_is_left_alone_for_a_while(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        for number in range(2):
            response = await fleet.install(f"r-{number}", options={"die": "3"})
            assert response.retry_after is None
        refused = await fleet.install("r-2", options={"die": "3"})
        assert refused.retry_after is not None
        assert 0 < refused.retry_after.total_seconds() <= 1
        assert refused.error.startswith(
            "it crashed 2 times in a row there and is started again in 1 s; last, its"
        )
        assert (await fleet.install("r-1")).error.startswith("its process ended with exit code 3")
        other = Model(name="other", backend="fake", revision="rev", path="/m", context_size=64, slot_count=2)
        assert (await fleet.install("r-3", model=other)).error == ""


async def test_a_replica_that_was_told_to_stop_is_no_crash(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        for number in range(4):
            await installed(fleet, f"r-{number}", options={"deaf": "yes"})
            await fleet.stop(f"r-{number}")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "its process ended with exit code 0"),
        ({"stubborn": "yes"}, "its process was ended by SIGTERM"),
        ({"deaf": "yes"}, "it did not end when it was told to, nor by SIGTERM, and was killed"),
    ],
)
async def test_a_drained_replica_is_ended_by_the_mildest_means_that_helps(
    fleet: Fleet, options: dict[str, str], words: str
) -> None:
    async with fleet.agent(drain_timeout="0.1", stop_timeout="0.2", terminate_timeout="0.2"):
        await fleet.on_the_bus()
        replica = await installed(fleet, options=options)
        assert (await fleet.stop(force=False)).found
        assert (await end_of(fleet, replica)).startswith(words)


async def test_a_range_without_a_port_is_an_error_that_says_so(fleet: Fleet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with fleet.agent(addr=f"127.0.0.1:{port}", grpc_max_port=str(port + 1)):
        await fleet.on_the_bus()
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
            assert f"no port from {port + 1} to {port + 1} is free" in (await fleet.install("r-2")).error


async def test_an_engine_that_ends_unasked_with_code_0_has_crashed(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        for number in range(2):
            assert (await fleet.install(f"r-{number}", options={"die": "0"})).replica is None
        assert (await fleet.install("r-2", options={"die": "0"})).error.startswith(
            "it crashed 2 times in a row"
        )


async def test_a_process_whose_port_somebody_took_is_started_once_more(fleet: Fleet, tmp_path: Path) -> None:
    sign = tmp_path / "taken"
    async with fleet.agent():
        await fleet.on_the_bus()
        replica = await installed(fleet, options={"taken": str(sign)})
        assert alive(replica.pid, start_time(replica.pid) or 0)
        again = await installed(fleet)
    assert sign.exists()
    assert again.pid == replica.pid


async def test_a_process_that_finds_every_port_taken_is_not_started_for_ever(
    fleet: Fleet, tmp_path: Path
) -> None:
    # In a folder that nobody made: the sign cannot be made either.
    async with fleet.agent():
        await fleet.on_the_bus()
        error = (await fleet.install(options={"taken": str(tmp_path / "no" / "taken")})).error
    assert "Address already in use" in error
    assert error.count("starts") == 2
