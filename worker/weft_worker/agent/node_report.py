"""What this machine has to offer, as it tells the fleet."""

import asyncio

from weft_proto.weft.types.v1 import Device
from weft_worker.agent.hardware import DeviceFacts, NvidiaGpus, cpu_device
from weft_worker.agent.memory import machine_memory
from weft_worker.agent.supervisor import Supervisor
from weft_worker.settings import MemoryBudget


class NodeReport:
    """Looks at the machine anew for each report. State: what the replicas held when they were last measured."""

    def __init__(self, *, budget: MemoryBudget, gpus: NvidiaGpus, supervisor: Supervisor) -> None:
        self._budget = budget
        self._gpus = gpus
        self._supervisor = supervisor
        self._held = 0

    async def devices(self, *, in_haste: bool = False) -> list[Device]:
        """Describe every device with its memory of now; measures the replicas on the way, unless in haste."""
        if not in_haste:
            self._held = await self._supervisor.measure()
        gpus = await asyncio.to_thread(self._gpus.devices)
        facts = (*gpus, cpu_device(machine_memory(), self._budget, self._held))
        return [_message(device) for device in facts]


def _message(device: DeviceFacts) -> Device:
    return Device(
        id=device.id,
        name=device.name,
        vendor=device.vendor,
        total_memory_bytes=device.total_bytes,
        free_memory_bytes=device.free_bytes,
    )
