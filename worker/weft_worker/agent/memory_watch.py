"""Whether more memory is in use than this machine's owner wants: LocalAI's memory reclaimer, as far as one node sees.

What is to go then is the fleet's to decide, which knows what is pinned, needed and used; it is told with every load
report for as long as it is so.
"""

import asyncio
from collections.abc import Sequence

from weft_proto.weft.types.v1 import Device
from weft_worker.agent.node_report import NodeReport

_LOOK_SECONDS = 1.0
_CPU = "cpu"


class MemoryWatch:
    """State: `use`, from 0 to 1 while it is above the limit, else None."""

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self.use: float | None = None

    async def keep(self, report: NodeReport) -> None:
        """Look for ever; for nothing without a limit."""
        while self._limit is not None:
            self.use = use_above(await report.devices(), self._limit)
            await asyncio.sleep(_LOOK_SECONDS)


def use_above(devices: Sequence[Device], limit: float) -> float | None:
    """The fullest device's use of the memory that models may use, if it is above the limit.

    Of the GPUs where there are any, as LocalAI has it; else of the machine.
    """
    gpus = [device for device in devices if device.vendor != _CPU]
    known = [device for device in gpus or devices if device.total_memory_bytes]
    fullest = max((1 - device.free_memory_bytes / device.total_memory_bytes for device in known), default=0.0)
    return fullest if fullest > limit else None
