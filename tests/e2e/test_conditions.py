"""A machine with something wrong gets nothing new, says why to everybody, and is well again by itself."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.crowd import ask_all, chat
from tests.e2e.stack import Stack, eventually, free_port

pytestmark = pytest.mark.e2e

MIB = 1 << 20
STEADY, OTHER = "steady", "other"
# Looks are 5 s apart.
SOON = 20.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Weft whose worker `two` has a disk of 64 MiB for itself."""
    made = Stack(tmp_path_factory.mktemp("conditions") / "home", free_port())
    folder = made.home / "worker" / "two"
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        for model in (STEADY, OTHER):
            made.write_model(model, parallel=4, max_queue=16)
        made.up(WEFT_AUTO_APPROVE_NODES="true", WEFT_EXPOSE_NODE_HEADER="true", WEFT_HEARTBEAT_INTERVAL="1s")
        with made.second_worker("two", WEFT_NODE_LABELS="zone=east"):
            yield made
    finally:
        made.down()
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        made.leave()


DRIVER = """
import pathlib
from types import SimpleNamespace
class NVMLError(Exception): pass
def _is(word): return pathlib.Path(__file__).with_name(word).exists()
def nvmlInit(): pass
def nvmlDeviceGetCount(): return 1 if _is("lost") else 2
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUUID(handle): return f"GPU-{handle}"
def nvmlDeviceGetName(handle): return "NVIDIA L4"
def nvmlDeviceGetMemoryInfo(handle):
    used = 9 << 30 if handle == 0 and _is("zombie") else 100 << 20
    return SimpleNamespace(total=24 << 30, used=used, free=(24 << 30) - used)
def nvmlDeviceGetUtilizationRates(handle): return SimpleNamespace(gpu=0, memory=0)
def nvmlDeviceGetCudaComputeCapability(handle): return (8, 9)
def nvmlDeviceGetComputeRunningProcesses(handle):
    if handle or not _is("foreign"): return []
    pid = 1 << 23 if _is("gone") else 1
    return [SimpleNamespace(pid=pid, usedGpuMemory=8 << 30)]
"""


@pytest.fixture
def drivers(stack: Stack, tmp_path: Path) -> Iterator[Mapping[str, Path]]:
    """Workers with two cards each, by name, whose drivers say what files beside them tell."""
    workers: dict[str, dict[str, str]] = {}
    found = {name: tmp_path / name for name in ("zombie", "lost")}
    for name, folder in found.items():
        folder.mkdir()
        (folder / "pynvml.py").write_text(DRIVER)
        path = os.pathsep.join(p for p in (str(folder), os.environ.get("PYTHONPATH", "")) if p)
        workers[name] = {"PYTHONPATH": path}
    with stack.more_workers(workers, WEFT_ZOMBIE_AFTER="1s", WEFT_NODE_LABELS="tier=gpu"):
        yield found


def call(stack: Stack, method: str, path: str, body: Any = None, token: str = "") -> Any:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with stack.client() as client:
        answer = client.request(method, path, json=body, headers=headers)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def conditions(stack: Stack, name: str = "two") -> list[dict[str, str]]:
    found: list[dict[str, str]] = call(stack, "GET", f"/api/nodes/{name}")["node"]["conditions"]
    return found


def told(stack: Stack) -> list[tuple[str, str]]:
    events = call(stack, "GET", "/api/events?filter.node=two&page_size=1000")["events"]
    return [(e["what"], e["details"]["condition"]) for e in events if e["what"].startswith("node_condition_")]


def test_a_full_disk_keeps_new_models_away_until_there_is_room_again(stack: Stack) -> None:
    for model in (STEADY, OTHER):
        call(stack, "POST", "/api/nodes/scheduling", {"model_name": model, "node_selector": {"zone": "east"}})
    assert ask_all(stack, [chat(STEADY, "tokens=1")])[0].headers["x-weft-node"] == "two"
    ballast = stack.home / "worker" / "two" / "ballast"
    ballast.write_bytes(bytes(62 * MIB))
    (found,) = eventually(lambda: conditions(stack), seconds=SOON, what="a full disk")
    assert found["kind"] == "NODE_CONDITION_KIND_DISK_FULL"
    assert "are free on the disk of" in found["message"]

    refused = stack.chat(OTHER, max_tokens=1)
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    assert "2 nodes: 1 with a full disk, 1 not labelled zone=east" in refused.json()["error"]["message"]
    assert "are free on the disk of" in stack.weft("explain", OTHER, COLUMNS="300").stdout
    shown = stack.weft("nodes", COLUMNS="300").stdout
    assert "two gets no new models: " in shown
    assert "disk full" in shown
    served = ask_all(stack, [chat(STEADY, "tokens=3")])[0]
    assert (served.ok, served.headers["x-weft-node"]) == (True, "two")

    ballast.unlink()
    eventually(lambda: not conditions(stack), seconds=SOON, what="room again")
    assert stack.chat(OTHER, max_tokens=1).status_code == 200
    eventually(
        lambda: told(stack) == [("node_condition_began", "disk_full"), ("node_condition_ended", "disk_full")],
        what="both events",
    )


def test_an_agent_outlives_a_disk_that_takes_nothing_at_all(stack: Stack) -> None:
    agent = stack.part("worker-two")
    ballast = stack.home / "worker" / "two" / "ballast"
    with ballast.open("wb") as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(MIB))
            file.flush()
    try:
        eventually(lambda: conditions(stack), seconds=SOON, what="a full disk")
        with stack.client() as client:
            done = client.post("/api/nodes/models/unload", json={"model_name": STEADY})
        assert done.status_code == 200
        eventually(lambda: not stack.parts(f"replica:two/{STEADY}"), seconds=SOON, what="its end")
    finally:
        ballast.unlink()
    eventually(lambda: not conditions(stack), seconds=SOON, what="room again")
    assert stack.part("worker-two") == agent
    assert stack.chat(STEADY, max_tokens=1).status_code == 200


def test_a_clock_that_is_off_is_found_by_its_heartbeats(stack: Stack) -> None:
    token = (stack.home / "join-token").read_text().strip()
    device = {"id": "cpu", "vendor": "cpu"}
    body = {"name": "three", "address": "127.0.0.1:1", "devices": [device], "engines": ["paced"]}
    node = call(stack, "POST", "/api/node/register", body, token)

    def beat(ahead: timedelta) -> None:
        sent = (datetime.now(UTC) + ahead).isoformat().replace("+00:00", "Z")
        path = f"/api/node/{node['node']['id']}/heartbeat"
        call(stack, "POST", path, {"send_time": sent}, node["node_token"])

    for ahead in (timedelta(minutes=3), timedelta(minutes=-3)):
        for _ in range(3):
            beat(ahead)
        (found,) = conditions(stack, "three")
        assert found["kind"] == "NODE_CONDITION_KIND_CLOCK_SKEW"
        assert ("180 s ahead" in found["message"] or "179 s ahead" in found["message"]) is (
            ahead > timedelta(0)
        )
        for _ in range(3):
            beat(timedelta(0))
        assert conditions(stack, "three") == []


def test_memory_of_nobody_and_a_lost_device_keep_models_away_from_gpu_nodes(
    stack: Stack, drivers: Mapping[str, Path]
) -> None:
    """One on each of two nodes, since looks are seconds apart."""
    call(stack, "POST", "/api/nodes/scheduling", {"model_name": OTHER, "node_selector": {"tier": "gpu"}})
    zombie, lost = drivers["zombie"], drivers["lost"]

    def come_to(**kinds: str) -> None:
        for node in drivers:
            wanted = [f"NODE_CONDITION_KIND_{kinds[node]}"] if node in kinds else []
            eventually(
                lambda node=node, wanted=wanted: [c["kind"] for c in conditions(stack, node)] == wanted,
                seconds=SOON,
                what=f"{node} has {wanted}",
            )

    come_to()
    (zombie / "zombie").touch()
    (lost / "lost").touch()
    come_to(zombie="ZOMBIE_MEMORY", lost="DEVICE_LOST")
    answer = stack.chat(OTHER, max_tokens=1)
    assert answer.status_code == 503
    refusal = str(answer.json()["error"]["message"])
    assert "1 with device memory in use by nobody known" in refusal
    assert "1 with a lost device" in refusal

    # Memory of a process that the driver names is somebody's, whoever that is.
    (zombie / "foreign").touch()
    (lost / "lost").unlink()
    come_to()
    # Unless it is gone, as drivers show what a killed process left behind.
    (zombie / "gone").touch()
    come_to(zombie="ZOMBIE_MEMORY")
    assert stack.chat(OTHER, max_tokens=1).headers["x-weft-node"] == "lost"
    (zombie / "gone").unlink()
    come_to()
