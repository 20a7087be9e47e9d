"""A worker with two GPUs, played by a `pynvml` on its path: who sees which, what admins see, who outlives whom."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.pair import SHORT_TIMERS
from tests.e2e.stack import ROOT, Part, Stack, eventually, free_port

pytestmark = pytest.mark.e2e

GIB = 1 << 30
TINY = ROOT / "worker" / "weft_worker" / "models" / "weft-tiny.gguf"
GPUS = ("GPU-11111111-0000-0000-0000-000000000001", "GPU-22222222-0000-0000-0000-000000000002")
MODELS = ("ga", "gb", "gc", "gd")
TOKENS = 120
# Two cards of 24 GiB. `held.json` beside it says which process holds how much on which, for as long as it lives.
DRIVER = """
import json, pathlib
from types import SimpleNamespace
class NVMLError(Exception): pass
UUIDS = {uuids!r}
def _held(handle):
    path = pathlib.Path(__file__).with_name("held.json")
    held = json.loads(path.read_text()).get(UUIDS[handle], {{}}) if path.exists() else {{}}
    return {{pid: size for pid, size in held.items() if _lives(pid)}}
def _lives(pid):
    try: return pathlib.Path(f"/proc/{{pid}}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError: return False
def nvmlInit():
    if pathlib.Path(__file__).with_name("dead").exists(): raise NVMLError("Driver Not Loaded")
def nvmlDeviceGetCount():
    nvmlInit()
    return len(UUIDS)
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUUID(handle): return UUIDS[handle]
def nvmlDeviceGetName(handle): return "NVIDIA L4"
def nvmlDeviceGetMemoryInfo(handle):
    total, used = 24 << 30, sum(_held(handle).values())
    return SimpleNamespace(total=total, used=used, free=total - used)
def nvmlDeviceGetUtilizationRates(handle): return SimpleNamespace(gpu=40, memory=5)
def nvmlDeviceGetCudaComputeCapability(handle): return (8, 9)
def nvmlDeviceGetComputeRunningProcesses(handle):
    return [SimpleNamespace(pid=int(pid), usedGpuMemory=size) for pid, size in _held(handle).items()]
"""


@dataclass
class Machine:
    """A stack whose worker `gpus` has the two cards."""

    stack: Stack
    driver: Path

    def replicas(self) -> dict[str, Part]:
        """The processes of the models, by model."""
        parts = self.stack.parts("replica:gpus/")
        return {part.name.removeprefix("replica:gpus/").partition("#")[0]: part for part in parts}

    def node(self) -> dict[str, Any]:
        with self.stack.client() as client:
            node: dict[str, Any] = client.get("/api/nodes/gpus").json()["node"]
        return node

    def say(self, model: str, words: str) -> httpx.Response:
        return self.stack.chat(model, words)

    def hold(self, held: dict[str, dict[int, int]]) -> None:
        """Have processes hold memory of the cards."""
        new = self.driver / "held.new"
        new.write_text(json.dumps(held))
        new.rename(self.driver / "held.json")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    driver = tmp_path_factory.mktemp("driver")
    (driver / "pynvml.py").write_text(DRIVER.format(uuids=GPUS))
    stack = Stack(tmp_path_factory.mktemp("devices") / "home", free_port())
    for name in MODELS:
        stack.write_model(name, parallel=2, options={"delay_ms": "10"})
    stack.write_model("tiny", "llama-cpp", parameters={"model": str(TINY)}, context_size=512)
    stack.up(WEFT_AUTO_APPROVE_NODES="true", **SHORT_TIMERS)
    path = os.pathsep.join(p for p in (str(driver), os.environ.get("PYTHONPATH", "")) if p)
    with stack.second_worker("gpus", PYTHONPATH=path, **SHORT_TIMERS):
        with stack.client() as client:
            for name in MODELS:
                policy = {"model_name": name, "node_selector": {"gpu.vendor": "nvidia"}}
                answer = client.post("/api/nodes/scheduling", json=policy)
                assert answer.status_code == 200, answer.text
        yield Machine(stack, driver)
    stack.leave()


def seen_by(machine: Machine, model: str) -> str:
    """What the process says of itself."""
    answer = machine.say(model, "env=CUDA_VISIBLE_DEVICES tokens=1")
    assert answer.status_code == 200, f"{answer.text}\n{machine.stack.logs()}"
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text.partition("]")[0].removeprefix("[")


def streamed(machine: Machine, model: str, started: Path) -> str:
    """A whole stream's text; what ends it early is told at its end."""
    text = ""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"tokens={TOKENS} delay_ms=25 count_file={started}"}],
        "stream": True,
    }
    try:
        with (
            machine.stack.client() as client,
            client.stream("POST", "/v1/chat/completions", json=body) as response,
        ):
            for line in response.iter_lines():
                if line == "data: [DONE]":
                    return text + "DONE"
                if line.startswith("data: "):
                    for choice in json.loads(line[6:]).get("choices", ()):
                        text += choice["delta"].get("content") or ""
    except httpx.TransportError:
        return text + "CUT"
    return text + "END"


def test_four_models_run_at_once_and_each_sees_exactly_its_device(machine: Machine) -> None:
    with ThreadPoolExecutor(len(MODELS)) as at_once:
        seen = dict(zip(MODELS, at_once.map(lambda m: seen_by(machine, m), MODELS), strict=True))
    assert Counter(seen.values()) == dict.fromkeys(GPUS, 2)
    assert machine.replicas().keys() == set(MODELS)
    with machine.stack.client() as client:
        replicas = client.get("/api/nodes/gpus/models").json()["replicas"]
    assert {r["model"]: [s["device_id"] for s in r["shares"]] for r in replicas} == {
        model: [device] for model, device in seen.items()
    }


def test_admins_see_what_is_used_how_busy_it_is_and_by_whom(machine: Machine) -> None:
    seen = {model: seen_by(machine, model) for model in MODELS}
    pids = {model: part.pid for model, part in machine.replicas().items()}
    held: dict[str, dict[int, int]] = {gpu: {} for gpu in GPUS}
    for model, gpu in seen.items():
        held[gpu][pids[model]] = 2 * GIB
    held[GPUS[0]][os.getpid()] = GIB
    machine.hold(held)

    def told() -> dict[str, Any]:
        devices = {d["id"]: d for d in machine.node()["devices"] if d["vendor"] == "nvidia"}
        return devices if int(devices[GPUS[0]]["used_memory_bytes"]) == 5 * GIB else {}

    devices = eventually(told, what="what is used", seconds=20)
    first, second = (devices[gpu] for gpu in GPUS)
    assert int(second["used_memory_bytes"]) == 4 * GIB
    assert (int(first["free_memory_bytes"]), first["compute_capability"]) == (19 * GIB, "8.9")
    assert first["utilization"] == pytest.approx(0.4)
    assert len([p for p in first["processes"] if p["replica_id"]]) == 2
    (stranger,) = [p for p in first["processes"] if not p["replica_id"]]
    assert (stranger["pid"], int(stranger["memory_bytes"])) == (os.getpid(), GIB)
    shown = machine.stack.weft("nodes", "show", "gpus")
    assert shown.returncode == 0, shown.stderr
    assert f"pid {os.getpid()}" in shown.stdout
    labels = machine.node()["labels"]
    assert (labels["gpu.vendor"], labels["gpu.vram"]) == ("nvidia", "24GB")


@pytest.mark.parametrize("victim", MODELS)
def test_killing_one_leaves_the_others_streaming(machine: Machine, victim: str, tmp_path: Path) -> None:
    assert {seen_by(machine, model) for model in MODELS} <= set(GPUS)
    whole = "".join(f"t{number} " for number in range(TOKENS))
    with ThreadPoolExecutor(len(MODELS)) as at_once:
        streams = {m: at_once.submit(streamed, machine, m, tmp_path / m) for m in MODELS}

        def under_way() -> bool:
            return all((tmp_path / m).exists() and (tmp_path / m).stat().st_size >= 10 for m in MODELS)

        eventually(under_way, what="four streams", seconds=20)
        before = machine.replicas()
        before[victim].kill(signal.SIGKILL)
        texts = {model: stream.result(timeout=60) for model, stream in streams.items()}
    assert {m: t for m, t in texts.items() if m != victim} == {
        m: f"{whole}DONE" for m in MODELS if m != victim
    }
    assert texts[victim].endswith("CUT")
    assert whole.startswith(texts[victim].removesuffix("CUT"))
    after = machine.replicas()
    assert {m: after[m].pid for m in MODELS if m != victim} == {
        m: before[m].pid for m in MODELS if m != victim
    }


def test_a_budget_holds_for_the_gpus_until_it_is_taken_back(machine: Machine) -> None:
    def totals() -> list[float]:
        found = [d for d in machine.node()["devices"] if d["vendor"] == "nvidia"]
        return [int(d["total_memory_bytes"]) / GIB for d in found]

    def capacities() -> list[float]:
        return [int(d["capacity_bytes"]) / GIB for d in machine.node()["devices"] if d["vendor"] == "nvidia"]

    with machine.stack.client() as client:
        url = "/api/nodes/gpus/vram-budget"
        refused = client.put(url, json={"value": "a lot"})
        assert (refused.status_code, "value" in refused.text) == (400, True)
        assert client.put("/api/nodes/nobody/memory-budget", json={"value": "50%"}).status_code == 404
        assert client.put(url, json={"value": "20GiB"}).json()["node"]["admin_memory_budget"] == "20GiB"
        eventually(lambda: totals() == [10, 10], what="even parts", seconds=20)
        done = machine.stack.weft("nodes", "memory-budget", "gpus", "50%")
        assert (done.returncode, done.stdout) == (0, "memory budget: 50%, set by an admin\n")
        eventually(lambda: totals() == [12, 12], what="half of each", seconds=20)
        assert capacities() == [24, 24]
        assert client.delete(url).status_code == 200
    eventually(lambda: totals() == [24, 24], what="all of it", seconds=20)


def test_an_engine_of_the_cpu_takes_the_machines_memory_and_sees_one_device(machine: Machine) -> None:
    with machine.stack.client() as client:
        policy = {"model_name": "tiny", "node_selector": {"gpu.vendor": "nvidia"}}
        assert client.post("/api/nodes/scheduling", json=policy).status_code == 200
        assert machine.say("tiny", "Hello").status_code == 200, machine.stack.logs()
        replicas = client.get("/api/nodes/gpus/models").json()["replicas"]
    (tiny,) = [r for r in replicas if r["model"] == "tiny"]
    sizes = {s["device_id"]: int(s["size_bytes"]) for s in tiny["shares"]}
    (seen,) = sizes.keys() - {"cpu"}
    assert (sizes["cpu"] > 0, sizes[seen], seen in GPUS) == (True, 0, True)
    variables = Path(f"/proc/{tiny['pid']}/environ").read_text().split("\0")
    assert f"CUDA_VISIBLE_DEVICES={seen}" in variables
    eventually(lambda: measured(machine, "tiny") > 10 << 20, what="its memory", seconds=20)


def measured(machine: Machine, model: str) -> int:
    with machine.stack.client() as client:
        replicas = client.get("/api/nodes/gpus/models").json()["replicas"]
    return sum(int(r["memory_bytes"]) for r in replicas if r["model"] == model)


def test_a_driver_that_dies_takes_its_devices_out_and_brings_them_back(machine: Machine) -> None:
    def free() -> list[int]:
        devices = machine.node()["devices"]
        return [int(d["free_memory_bytes"]) for d in devices if d["vendor"] == "nvidia"]

    def conditions() -> list[str]:
        return [c["kind"] for c in machine.node()["conditions"]]

    before = {m: p.pid for m, p in machine.replicas().items()}
    (machine.driver / "dead").touch()
    eventually(lambda: free() == [0, 0], what="nothing free", seconds=30)
    eventually(lambda: "NODE_CONDITION_KIND_DEVICE_LOST" in conditions(), what="a condition", seconds=30)
    (machine.driver / "dead").unlink()
    eventually(lambda: all(free()), what="memory free again", seconds=30)
    eventually(lambda: not conditions(), what="no condition", seconds=30)
    assert {m: p.pid for m, p in machine.replicas().items()} == before
