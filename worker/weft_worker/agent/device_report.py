"""What a node says of its devices: within the budget, with the processes on them, and which of those are ours."""

from collections.abc import Callable, Sequence

from weft_common.machine_memory import machine_memory
from weft_common.memory_budget import MemoryBudget
from weft_proto.weft.types.v1 import Device, DeviceProcess
from weft_worker.agent.conditions import DeviceLook
from weft_worker.agent.device_pids import Owners, runs, sees_every_process
from weft_worker.agent.devices.facts import DeviceFacts
from weft_worker.agent.devices.inventory import Inventory
from weft_worker.agent.hardware import cpu_device, within_budget
from weft_worker.agent.replica import ReplicaRecord


def device_messages(
    gpus: Sequence[DeviceFacts], budget: MemoryBudget | None, *, held_bytes: int, owners: Owners
) -> list[Device]:
    """Describe the GPUs and the CPU; the budget is for the GPUs where there are any.

    `held_bytes` is what replicas hold of the machine's own memory.
    """
    cpu = cpu_device(machine_memory(), None if gpus else budget, held_bytes)
    found = within_budget(tuple(gpus), budget, {gpu.id: owners.holds(gpu) for gpu in gpus})
    return [_message(device, owners) for device in (*found, cpu)]


async def device_looks(
    inventory: Inventory,
    replicas: Sequence[ReplicaRecord],
    *,
    sees_all: Callable[[], bool] = sees_every_process,
) -> Sequence[DeviceLook]:
    """The devices as one looks at them who asks what is wrong with this machine."""
    gpus = await inventory.look()
    owners = Owners(replicas, gpus, sees_all=sees_all)
    return [_look(gpu, _explained(gpu, owners)) for gpu in gpus]


def _explained(gpu: DeviceFacts, owners: Owners) -> int | None:
    """Bytes in use whose holders live. None if nobody can say: ours may be among those that are not shown."""
    if not gpu.processes_told:
        return None
    if owners.pids_known:
        # Memory of one that is gone is what nobody uses, although its driver still knows the number.
        return sum(process.memory_bytes for process in gpu.processes if runs(process.pid))
    return None if owners.may_hold(gpu) else sum(process.memory_bytes for process in gpu.processes)


def _look(device: DeviceFacts, explained_bytes: int | None) -> DeviceLook:
    return DeviceLook(
        id=device.id,
        name=device.name,
        total_bytes=device.total_bytes,
        used_bytes=device.used_bytes,
        explained_bytes=explained_bytes,
        lost=device.lost,
    )


def _message(device: DeviceFacts, owners: Owners) -> Device:
    return Device(
        id=device.id,
        name=device.name,
        vendor=device.vendor,
        total_memory_bytes=device.total_bytes,
        free_memory_bytes=device.free_bytes,
        used_memory_bytes=device.used_bytes,
        utilization=device.utilization,
        processes=[
            DeviceProcess(
                pid=process.pid,
                memory_bytes=process.memory_bytes,
                replica_id=owners.of(process.pid),
                # A number of another namespace has the name of somebody else here.
                name=process.name if owners.pids_known else "",
            )
            for process in device.processes
        ],
        compute_capability=device.compute_capability,
        capacity_bytes=device.capacity_bytes or device.total_bytes,
    )
