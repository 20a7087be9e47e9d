"""What the machine has to run models with: its devices."""

import platform
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from weft_common.machine_memory import MachineMemory
from weft_common.memory_budget import MemoryBudget
from weft_worker.agent.devices.facts import DeviceFacts

# The rest is for the system, and for what engines take beside the model.
CPU_BUDGET = MemoryBudget(Fraction(80, 100))
_CPU_INFO = Path("/proc/cpuinfo")


def cpu_device(memory: MachineMemory, budget: MemoryBudget | None, held_bytes: int) -> DeviceFacts:
    """Describe the CPU: free is what the budget leaves, and never more than the machine has."""
    total = (budget or CPU_BUDGET).of(memory.total_bytes)
    free = max(0, min(total - held_bytes, memory.available_bytes))
    used = max(0, memory.total_bytes - memory.available_bytes)
    return DeviceFacts("cpu", _cpu_name(), "cpu", total, free, used, capacity_bytes=memory.total_bytes)


def within_budget(
    gpus: tuple[DeviceFacts, ...], budget: MemoryBudget | None, held: Mapping[str, int] | None = None
) -> tuple[DeviceFacts, ...]:
    """Cap what may be used of each GPU; an amount is for the node, whose GPUs have even parts of it.

    `held` is what our own processes hold, by device, which the budget has less of; what others hold is theirs.
    """
    if budget is None:
        return gpus
    part = budget.divided(max(1, len(gpus)))
    return tuple(_capped(gpu, part.of(gpu.total_bytes), (held or {}).get(gpu.id, 0)) for gpu in gpus)


def _capped(gpu: DeviceFacts, total: int, held: int) -> DeviceFacts:
    return replace(
        gpu,
        capacity_bytes=gpu.total_bytes,
        total_bytes=total,
        free_bytes=max(0, min(gpu.free_bytes, total - held)),
    )


def gpu_labels(devices: tuple[DeviceFacts, ...]) -> dict[str, str]:
    """Name what selectors may ask for: the first GPU's vendor and the size class of its memory."""
    gpus = [device for device in devices if device.vendor != "cpu"]
    if not gpus:
        return {}
    gigabytes = gpus[0].total_bytes / 2**30
    # A card of 24 GB reports a little less than 24 GiB.
    size = next((f"{size}GB" for size in (8, 16, 24, 48) if gigabytes <= size), "80GB+")
    return {"gpu.vendor": gpus[0].vendor, "gpu.vram": size}


def _cpu_name() -> str:
    try:
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "CPU"
