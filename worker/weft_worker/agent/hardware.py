"""What the machine has to run models with: its devices and the engines that are installed."""

import importlib
import logging
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from weft_worker.agent.memory import MachineMemory
from weft_worker.settings import MemoryBudget

# The rest is for the system, and for what engines take beside the model.
CPU_BUDGET = MemoryBudget(Fraction(80, 100))
ENGINE_GROUP = "weft.engines"
_CPU_INFO = Path("/proc/cpuinfo")

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A piece of memory that models are placed on; the fields of weft.types.v1.Device."""

    id: str
    name: str
    vendor: str
    total_bytes: int
    free_bytes: int


def installed_engines() -> tuple[str, ...]:
    """Name the engines that could be started; none is imported, since that may take seconds."""
    return tuple(sorted({point.name for point in entry_points(group=ENGINE_GROUP)}))


def cpu_device(memory: MachineMemory, budget: MemoryBudget | None, held_bytes: int) -> DeviceFacts:
    """Describe the CPU: free is what the budget leaves, and never more than the machine has."""
    total = (budget or CPU_BUDGET).of(memory.total_bytes)
    free = max(0, min(total - held_bytes, memory.available_bytes))
    return DeviceFacts("cpu", _cpu_name(), "cpu", total, free)


def within_budget(gpus: tuple[DeviceFacts, ...], budget: MemoryBudget | None) -> tuple[DeviceFacts, ...]:
    """Cap what may be used of each GPU; an amount is for the node, whose GPUs have even parts of it."""
    if budget is None:
        return gpus
    totals = (budget.divided(len(gpus)).of(gpu.total_bytes) for gpu in gpus)
    return tuple(
        replace(gpu, total_bytes=total, free_bytes=min(gpu.free_bytes, total))
        for gpu, total in zip(gpus, totals, strict=True)
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


class NvidiaGpus:
    """NVIDIA's devices through NVML. State: the library, None where there is none; what was seen last; a complaint.

    A driver that fails for a while leaves the devices listed, with nothing free: a machine with GPUs must not pass
    for one that computes on its CPU.
    """

    def __init__(self) -> None:
        self._nvml: Any = _open_nvml()
        self._seen: tuple[DeviceFacts, ...] = ()
        self._complaint = ""
        self.devices()

    @property
    def present(self) -> bool:
        """Whether the machine has any."""
        return bool(self._seen)

    def devices(self) -> tuple[DeviceFacts, ...]:
        """List the GPUs with their memory of now."""
        found = self._ask(lambda: tuple(self._device(handle) for handle in self._handles()))
        if found is None:
            return tuple(replace(device, free_bytes=0) for device in self._seen)
        self._seen = found
        return found

    def held(self) -> Mapping[int, int]:
        """Tell what each process holds on all of them, by pid; without those of which the driver does not tell.

        In a container the driver may know processes by other pids than ours.
        """
        return self._ask(self._held) or {}

    def _held(self) -> Mapping[int, int]:
        held: dict[int, int] = {}
        for handle in self._handles():
            for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(handle):
                held[process.pid] = held.get(process.pid, 0) + (process.usedGpuMemory or 0)
        return held

    def _ask(self, question: Callable[[], T]) -> T | None:
        """Ask the driver; None where it fails or is missing, which is logged once."""
        if self._nvml is None:
            return None
        try:
            answer = question()
        except self._nvml.NVMLError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                _log.warning("nvml_failed", extra={"reason": self._complaint})
            return None
        self._complaint = ""
        return answer

    def _handles(self) -> Iterator[Any]:
        for index in range(self._nvml.nvmlDeviceGetCount()):
            yield self._nvml.nvmlDeviceGetHandleByIndex(index)

    def _device(self, handle: Any) -> DeviceFacts:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return DeviceFacts(
            id=_text(self._nvml.nvmlDeviceGetUUID(handle)),
            name=_text(self._nvml.nvmlDeviceGetName(handle)),
            vendor="nvidia",
            total_bytes=int(memory.total),
            free_bytes=int(memory.free),
        )


def _open_nvml() -> Any:
    # An extra, and one that would rather not be imported where it is missing: hence not at the top.
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        _log.info("no_nvidia_devices", extra={"reason": str(error)})
        return None
    return nvml


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _cpu_name() -> str:
    try:
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "CPU"
