from fractions import Fraction

import pytest

from weft_common.machine_memory import MachineMemory
from weft_common.memory_budget import MemoryBudget
from weft_worker.agent.devices.facts import DeviceFacts
from weft_worker.agent.hardware import cpu_device, gpu_labels, within_budget

GIB = 2**30


def test_the_cpu_has_what_the_budget_leaves() -> None:
    device = cpu_device(MachineMemory(10 * GIB, 9 * GIB), MemoryBudget(Fraction(1, 2)), held_bytes=2 * GIB)
    assert (device.id, device.vendor) == ("cpu", "cpu")
    assert (device.total_bytes, device.free_bytes) == (5 * GIB, 3 * GIB)


def test_the_cpu_never_has_more_than_the_machine() -> None:
    budget = MemoryBudget(None, 64 * GIB)
    device = cpu_device(MachineMemory(10 * GIB, GIB), budget, held_bytes=0)
    assert (device.total_bytes, device.free_bytes) == (10 * GIB, GIB)


def test_more_held_than_the_budget_leaves_nothing() -> None:
    device = cpu_device(MachineMemory(10 * GIB, 5 * GIB), MemoryBudget(None, GIB), held_bytes=2 * GIB)
    assert device.free_bytes == 0


@pytest.mark.parametrize(
    ("budget", "total", "free"),
    [
        (None, 141 * GIB, 100 * GIB),
        (MemoryBudget(Fraction(1, 2)), 141 * GIB // 2, 141 * GIB // 2),
        (MemoryBudget(None, 80 * GIB), 40 * GIB, 40 * GIB),
        (MemoryBudget(None, 900 * GIB), 141 * GIB, 100 * GIB),
    ],
)
def test_a_budget_caps_each_gpu(budget: MemoryBudget | None, total: int, free: int) -> None:
    gpus = tuple(DeviceFacts(name, "card", "nvidia", 141 * GIB, 100 * GIB) for name in ("GPU-1", "GPU-2"))
    assert [(gpu.total_bytes, gpu.free_bytes) for gpu in within_budget(gpus, budget)] == [(total, free)] * 2


def test_a_budget_leaves_what_our_own_do_not_hold() -> None:
    gpu = DeviceFacts("GPU-1", "card", "nvidia", 80 * GIB, 60 * GIB)
    (capped,) = within_budget((gpu,), MemoryBudget(None, 30 * GIB), {"GPU-1": 20 * GIB})
    assert (capped.total_bytes, capped.free_bytes) == (30 * GIB, 10 * GIB)


def test_without_a_budget_the_cpu_leaves_a_fifth_to_the_system() -> None:
    assert cpu_device(MachineMemory(10 * GIB, 9 * GIB), None, held_bytes=0).total_bytes == 8 * GIB


@pytest.mark.parametrize(("gib", "size"), [(7.7, "8GB"), (23.6, "24GB"), (48, "48GB"), (79.6, "80GB+")])
def test_memory_has_a_size_class(gib: float, size: str) -> None:
    assert gpu_labels((DeviceFacts("G", "n", "nvidia", int(gib * GIB), 0),))["gpu.vram"] == size
