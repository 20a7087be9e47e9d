"""An agent dies and another one comes: what ran goes on."""

import asyncio
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.worker.agent.fake_nvml import FakeNvml
from tests.worker.agent.fleet import SOON, Fleet, eventually
from weft_common.process import start_time
from weft_proto.weft.types.v1 import Replica, ReplicaState


async def orphaned(fleet: Fleet, *, ready: bool = True, **changes: Any) -> Replica:
    """Leave a backend behind whose agent was killed."""
    with fleet.agent_process() as agent:
        await fleet.on_the_bus()
        replica = (await fleet.install(**changes)).replica
        assert replica is not None
        if ready:
            await fleet.tell(replica.address, state={"state": "ready"})
            await eventually(lambda: (fleet.record() or {})["state"] == "ready", "a ready replica")
        agent.kill()
        agent.wait()
    assert start_time(replica.pid) is not None, "a backend must survive its agent"
    return replica


async def reported(fleet: Fleet, replica: Replica) -> None:
    """Have the backend tell its load until a report of it arrives: before the new agent is there, nobody hears."""
    fleet.reports.clear()
    async with asyncio.timeout(SOON):
        while not fleet.reports:
            await fleet.tell(replica.address, load={"in_flight": 1, "queued": 0})
            await asyncio.sleep(0.05)


async def test_a_new_agent_adopts_what_runs(fleet: Fleet) -> None:
    replica = await orphaned(fleet)
    async with fleet.agent():
        registration = await fleet.registered(2)
        adopted = registration.replicas[0]
        assert (adopted.id, adopted.pid, adopted.address) == ("r-1", replica.pid, replica.address)
        assert adopted.state is ReplicaState.READY
        await fleet.on_the_bus()
        again = (await fleet.install()).replica
        assert again is not None
        assert again.pid == replica.pid, "the same operation, the same process"
        await reported(fleet, replica)
        assert (await fleet.stop("r-1")).found
        assert start_time(replica.pid) is None


async def test_adoption_waits_for_no_driver(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    replica = await orphaned(fleet, ready=False)
    hangs, nvml = threading.Event(), FakeNvml()
    monkeypatch.setattr(nvml, "nvmlInit", lambda: hangs.wait(60), raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    try:
        async with fleet.agent():
            async with asyncio.timeout(5):
                while (fleet.record() or {})["state"] != "ready":
                    await fleet.tell(replica.address, state={"state": "ready"})
                    await asyncio.sleep(0.05)
            assert len(fleet.router.registrations) == 1, "it registers with what the driver says"
            assert not hangs.is_set()
        # Neither does its end.
    finally:
        hangs.set()


async def test_an_adopted_backend_that_dies_is_reported_as_failed(fleet: Fleet) -> None:
    replica = await orphaned(fleet)
    async with fleet.agent():
        await fleet.registered(2)
        os.kill(replica.pid, signal.SIGKILL)
        await eventually(
            lambda: [
                r for beat in fleet.router.heartbeats for r in beat.replicas if r.state is ReplicaState.FAILED
            ],
            "a failed replica",
        )
        await eventually(lambda: not fleet.router.replicas(), "no replica")


async def test_a_backend_that_died_with_its_agent_is_forgotten(fleet: Fleet) -> None:
    replica = await orphaned(fleet)
    os.kill(replica.pid, signal.SIGKILL)
    await eventually(lambda: start_time(replica.pid) is None, "its end")
    async with fleet.agent():
        assert (await fleet.registered(2)).replicas == []
        await eventually(lambda: fleet.record() is None, "no record")


async def test_a_backend_that_never_comes_back_is_ended(fleet: Fleet) -> None:
    replica = await orphaned(fleet)
    os.kill(replica.pid, signal.SIGSTOP)
    async with fleet.agent(lease="0.2"):
        await eventually(lambda: start_time(replica.pid) is None, "its end")


async def test_a_backend_of_another_mesh_is_ended(fleet: Fleet) -> None:
    replica = await orphaned(fleet)
    fleet.router.mesh_secret = "cd" * 32
    async with fleet.agent():
        await eventually(lambda: start_time(replica.pid) is None, "its end")


async def test_a_record_that_names_another_process_kills_nobody(fleet: Fleet) -> None:
    replica = await orphaned(fleet, options={"deaf": "yes"})
    path = fleet.state_dir / "replicas" / "r-1.json"
    path.write_text(path.read_text().replace(f'"start_time":{start_time(replica.pid)}', '"start_time":7'))
    async with fleet.agent():
        assert (await fleet.registered(2)).replicas == []
    assert start_time(replica.pid) is not None
    os.killpg(replica.pid, signal.SIGKILL)


async def test_a_backend_that_nobody_knows_is_asked_to_end(fleet: Fleet) -> None:
    replica = await orphaned(fleet)
    (fleet.state_dir / "replicas" / "r-1.json").unlink()
    async with fleet.agent():
        await eventually(lambda: start_time(replica.pid) is None, "its end")
        assert (await fleet.registered(2)).replicas == []


async def test_an_adopting_agent_reports_loads_while_no_router_answers(fleet: Fleet) -> None:
    replica = await orphaned(fleet)
    await fleet.stop_router()
    async with fleet.agent():
        await reported(fleet, replica)


async def test_how_an_adopted_backend_ended_is_known_too(fleet: Fleet) -> None:
    replica = await orphaned(fleet)
    async with fleet.agent():
        await fleet.registered(2)
        await fleet.on_the_bus()
        await fleet.tell(replica.address, exit=7, say="out of luck")
        await eventually(lambda: fleet.record() is None, "no record")
        error = (await fleet.install()).error
        assert error.startswith("its process ended with exit code 7")
        assert error.endswith("out of luck")
        await eventually(lambda: not list((fleet.state_dir / "replicas").iterdir()) or None, "nothing left")


async def test_how_a_backend_ended_while_there_was_no_agent_is_in_the_log(fleet: Fleet) -> None:
    replica = await orphaned(fleet)
    await fleet.tell(replica.address, exit=7, say="out of luck")
    await eventually(lambda: start_time(replica.pid) is None, "its end")
    with fleet.agent_process():
        (told,) = (await fleet.registered(2)).replicas
    assert (told.id, told.state) == ("r-1", ReplicaState.FAILED)
    assert told.problem.startswith("its process ended with exit code 7")
    assert told.problem.endswith("out of luck")
    log = (fleet.state_dir.parent / "agent.log").read_text()
    assert "its process ended with exit code 7" in log
    assert not list((fleet.state_dir / "replicas").iterdir())


async def test_what_a_backend_left_is_ended_where_everybody_was_killed(fleet: Fleet, tmp_path: Path) -> None:
    noted = tmp_path / "child"
    replica = await orphaned(fleet, options={"child": str(noted)})
    shim = json.loads((fleet.state_dir / "replicas" / "r-1.json").read_text())["shim_pid"]
    child = int(noted.read_text())
    for pid in (shim, replica.pid):
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: start_time(replica.pid) is None, "its end")
    assert start_time(child) is not None
    async with fleet.agent():
        await eventually(lambda: start_time(child) is None, "no orphan")


async def test_a_process_of_another_boot_is_nobody_of_ours(fleet: Fleet) -> None:
    replica = await orphaned(fleet, options={"deaf": "yes"})
    path = fleet.state_dir / "replicas" / "r-1.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"boot_id": "another"}))
    async with fleet.agent():
        assert (await fleet.registered(2)).replicas == []
    assert start_time(replica.pid) is not None
    os.killpg(replica.pid, signal.SIGKILL)


async def test_a_process_that_had_not_begun_when_its_agent_was_killed_is_started_anew(fleet: Fleet) -> None:
    replica = await orphaned(fleet, ready=False)
    path = fleet.state_dir / "replicas" / "r-1.json"
    # As it is between the record and the hand-over of the document; it never says hello.
    path.write_text(json.dumps(json.loads(path.read_text()) | {"address": "", "lease_token": "another"}))
    async with fleet.agent():
        assert (await fleet.registered(2)).replicas[0].address == ""
        await fleet.on_the_bus()
        again = asyncio.ensure_future(fleet.install())
        await eventually(lambda: start_time(replica.pid) is None, "its end")
        begun = (await again).replica
    assert begun is not None
    assert begun.pid != replica.pid
    assert begun.address


async def test_a_process_that_had_not_said_hello_when_its_agent_was_killed_is_waited_for(
    fleet: Fleet,
) -> None:
    replica = await orphaned(fleet, ready=False)
    path = fleet.state_dir / "replicas" / "r-1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"address": ""}))
    os.kill(replica.pid, signal.SIGSTOP)
    async with fleet.agent():
        await fleet.registered(2)
        await fleet.on_the_bus()
        again = asyncio.ensure_future(fleet.install())
        await fleet.on_the_bus()  # the answer to a later command: the install has been heard
        assert not again.done()
        os.kill(replica.pid, signal.SIGCONT)
        adopted = (await again).replica
    assert adopted is not None
    assert (adopted.pid, adopted.address) == (replica.pid, replica.address)


async def test_an_agent_whose_health_port_is_taken_says_so_and_adopts_nothing(fleet: Fleet) -> None:
    replica = await orphaned(fleet)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with fleet.agent_process(WEFT_HEALTH_LISTEN=address) as agent:
            assert await asyncio.to_thread(agent.wait, SOON) == 1
    log = (fleet.state_dir.parent / "agent.log").read_text()
    assert f"WEFT_HEALTH_LISTEN {address} cannot be served" in log
    assert "Traceback" not in log
    assert "replica_adopted" not in log
    os.kill(replica.pid, signal.SIGKILL)


async def test_where_no_agent_comes_back_a_backend_ends_itself_and_what_it_had_started(
    fleet: Fleet, tmp_path: Path
) -> None:
    noted = tmp_path / "child"
    with fleet.agent_process(WEFT_ORPHAN="0.5") as agent:
        await fleet.on_the_bus()
        replica = (await fleet.install(options={"child": str(noted)})).replica
        assert replica is not None
        shim = json.loads((fleet.state_dir / "replicas" / "r-1.json").read_text())["shim_pid"]
        agent.kill()
        agent.wait()
    child = int(noted.read_text())
    for pid in (replica.pid, child, shim):
        await eventually(lambda pid=pid: start_time(pid) is None, "no orphan")  # type: ignore[misc]
