"""The memory of devices that have none of their own, as those of laptops and of some large systems on a chip."""

from weft_common.machine_memory import machine_memory


def memory() -> tuple[int, int]:
    """Bytes in all and free, of the machine whose memory they compute in."""
    found = machine_memory()
    return found.total_bytes, found.available_bytes


def free_of(total_bytes: int, used_bytes: int) -> int:
    """What is free of the part of the machine's memory that a device may take: never more than the machine has."""
    return max(0, min(total_bytes - used_bytes, machine_memory().available_bytes))
