"""NVIDIA's devices; a module in the place of pynvml plays the driver."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.worker.agent.fake_nvml import GIB, FakeNvml, NvmlError
from weft_common.machine_memory import machine_memory
from weft_worker.agent.devices.facts import DeviceFacts, DeviceProcess, DevicesUnavailable
from weft_worker.agent.devices.nvidia import NvidiaSource


def driver(monkeypatch: pytest.MonkeyPatch, nvml: Any) -> NvidiaSource:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return NvidiaSource()


def test_a_device_is_described_with_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    nvml.held = ({os.getpid(): 2 * GIB, 4_000_000: None}, {})
    name = Path("/proc/self/comm").read_text().strip()
    assert driver(monkeypatch, nvml).look()[0] == DeviceFacts(
        id="GPU-1",
        name="NVIDIA H200",
        vendor="nvidia",
        total_bytes=141 * GIB,
        free_bytes=98 * GIB,
        used_bytes=43 * GIB,
        utilization=0.25,
        processes_told=False,  # not of the second one
        processes=(DeviceProcess(os.getpid(), 2 * GIB, name), DeviceProcess(4_000_000, 0)),
        compute_capability="9.0",
        handle="GPU-1",
    )


@pytest.mark.parametrize("module", [None, FakeNvml(driver=False)])
def test_without_library_or_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    assert driver(monkeypatch, module).look() == ()


def test_a_driver_that_comes_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(driver=False)
    source = driver(monkeypatch, nvml)
    assert source.look() == ()
    nvml.driver = True
    assert [gpu.id for gpu in source.look()] == ["GPU-1", "GPU-2"]


def test_a_driver_that_dies_says_so_and_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    source = driver(monkeypatch, nvml)
    source.look()
    nvml.driver = False
    for _ in range(2):
        with pytest.raises(DevicesUnavailable, match="Driver Not Loaded"):
            source.look()
    nvml.driver = True
    assert len(source.look()) == 2


def test_a_device_that_fails_alone_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    nvml.broken = {0}
    assert [gpu.id for gpu in driver(monkeypatch, nvml).look()] == ["GPU-2"]


def test_it_is_known_whether_all_memory_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    nvml.held = ({os.getpid(): 2 * GIB}, {7: None})
    assert [gpu.processes_told for gpu in driver(monkeypatch, nvml).look()] == [True, False]
    assert [gpu.processes_told for gpu in driver(monkeypatch, sparse()).look()] == [False]


def sparse(**more: Any) -> Any:
    """A library of another age, which has only what is needed."""
    return SimpleNamespace(
        NVMLError=NvmlError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda handle: f"MIG-{handle}".encode() if handle else b"GPU-7",
        nvmlDeviceGetName=lambda handle: "Tesla",
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=GIB, free=GIB),
        **more,
    )


def test_what_a_library_does_not_tell_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert driver(monkeypatch, sparse()).look() == (
        DeviceFacts("GPU-7", "Tesla", "nvidia", GIB, GIB, handle="GPU-7"),
    )


def test_of_a_divided_device_its_instances_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def instance(handle: int, index: int) -> int:
        if index > 1:
            raise NvmlError("Not Found")
        return 10 + index

    nvml = sparse(
        nvmlDeviceGetMigMode=lambda handle: (1, 1),
        nvmlDeviceGetMaxMigDeviceCount=lambda handle: 7,
        nvmlDeviceGetMigDeviceHandleByIndex=instance,
    )
    assert [gpu.id for gpu in driver(monkeypatch, nvml).look()] == ["MIG-10", "MIG-11"]


def no_memory_of_its_own(handle: int) -> Any:
    raise NvmlError("Not Supported")


@pytest.mark.parametrize("memory", [no_memory_of_its_own, lambda handle: SimpleNamespace(total=0, free=0)])
def test_a_device_without_memory_of_its_own_has_the_machines(
    monkeypatch: pytest.MonkeyPatch, memory: Any
) -> None:
    nvml = sparse(nvmlDeviceGetComputeRunningProcesses=lambda handle: [])
    nvml.nvmlDeviceGetMemoryInfo = memory
    (gpu,) = driver(monkeypatch, nvml).look()
    assert gpu.total_bytes == machine_memory().total_bytes
    assert 0 < gpu.free_bytes < gpu.total_bytes
    # The machine's other processes are no zombies of the device.
    assert not gpu.processes_told


def test_a_device_that_nobody_understands_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = sparse()
    nvml.nvmlDeviceGetCount = lambda: 2
    odd = SimpleNamespace(total=GIB, free=None)
    nvml.nvmlDeviceGetMemoryInfo = lambda handle: SimpleNamespace(total=GIB, free=GIB) if handle else odd
    assert [gpu.id for gpu in driver(monkeypatch, nvml).look()] == ["MIG-1"]
