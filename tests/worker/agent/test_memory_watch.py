"""Whether too much memory is in use: of the GPUs where there are any, else of the machine."""

import pytest

from weft_proto.weft.types.v1 import Device
from weft_worker.agent.memory_watch import use_above


def a_device(used: int, total: int = 100, vendor: str = "cpu") -> Device:
    return Device(vendor=vendor, total_memory_bytes=total, free_memory_bytes=total - used)


@pytest.mark.parametrize(
    ("devices", "use"),
    [
        ([], None),
        ([a_device(95)], None),
        ([a_device(96)], 0.96),
        ([a_device(0, total=0)], None),
        ([a_device(99), a_device(50, vendor="nvidia")], None),
        ([a_device(10), a_device(50, vendor="nvidia"), a_device(97, vendor="nvidia")], 0.97),
    ],
)
def test_the_fullest_device_tells(devices: list[Device], use: float | None) -> None:
    found = use_above(devices, 0.95)
    assert found == (use if use is None else pytest.approx(use))
