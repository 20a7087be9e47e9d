"""Whether more memory is in use than this machine's owner wants: LocalAI's memory reclaimer, as far as one node sees.

What is to go then is the fleet's to decide, which knows what is pinned, needed and used; it is told with every load
report for as long as it is so.
"""

import asyncio
from collections.abc import Sequence

from weft_proto.pb.weft.bus.v1.reports_pb2 import FullDevice
from weft_proto.weft.types.v1 import Device
from weft_worker.agent.node_report import NodeReport

_LOOK_SECONDS = 1.0
_CPU = "cpu"


class MemoryWatch:
    """State: `full`, devices with more in use than the limit."""

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self.full: tuple[FullDevice, ...] = ()

    async def keep(self, report: NodeReport) -> None:
        """Look for ever; for nothing without a limit."""
        while self._limit is not None:
            self.full = full_devices(await report.devices(), self._limit)
            await asyncio.sleep(_LOOK_SECONDS)


def full_devices(devices: Sequence[Device], limit: float) -> tuple[FullDevice, ...]:
    """Devices with more than that share of the memory that models may use in use.

    Of the GPUs where there are any, as LocalAI has it; else of the machine.
    """
    gpus = [device for device in devices if device.vendor != _CPU]
    known = [device for device in gpus or devices if device.total_memory_bytes]
    return tuple(each for device in known if (each := _use_of(device, limit)).use > limit)


def _use_of(device: Device, limit: float) -> FullDevice:
    total_bytes = device.total_memory_bytes
    used_bytes = total_bytes - device.free_memory_bytes
    excess_bytes = max(0, used_bytes - int(limit * total_bytes))
    return FullDevice(device_id=device.id, use=used_bytes / total_bytes, excess_bytes=excess_bytes)
