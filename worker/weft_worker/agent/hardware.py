"""What the machine has to run models with: its devices and the engines that are installed."""

import importlib
import logging
import platform
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from weft_worker.agent.memory import MachineMemory
from weft_worker.settings import MemoryBudget

ENGINE_GROUP = "weft.engines"
_CPU_INFO = Path("/proc/cpuinfo")

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


def cpu_device(memory: MachineMemory, budget: MemoryBudget, held_bytes: int) -> DeviceFacts:
    """Describe the CPU: free is what the budget leaves, and never more than the machine has."""
    total = budget.of(memory.total_bytes)
    free = max(0, min(total - held_bytes, memory.available_bytes))
    return DeviceFacts("cpu", _cpu_name(), "cpu", total, free)


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
    """NVIDIA's devices through NVML. State: the library, None where there is none or it does not work."""

    def __init__(self) -> None:
        self._nvml: Any = _open_nvml()

    def devices(self) -> tuple[DeviceFacts, ...]:
        """List the GPUs with their memory of now; a driver that fails is left alone from then on."""
        if self._nvml is None:
            return ()
        try:
            count = self._nvml.nvmlDeviceGetCount()
            return tuple(self._device(self._nvml.nvmlDeviceGetHandleByIndex(i)) for i in range(count))
        except self._nvml.NVMLError as error:
            _log.warning("nvml_failed", extra={"reason": str(error)})
            self._nvml = None
            return ()

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
