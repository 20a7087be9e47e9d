"""Which devices a backend process sees, by its own environment."""

import sys
from pathlib import Path

import pytest

from tests.worker.agent.fake_nvml import FakeNvml
from tests.worker.agent.fleet import Fleet


async def seen_devices(fleet: Fleet, *device_ids: str) -> str | None:
    """Install a backend on these devices and read what its process was told."""
    installed = (await fleet.install(device_ids=list(device_ids))).replica
    assert installed is not None
    variables = Path(f"/proc/{installed.pid}/environ").read_text().split("\0")
    told = [text.partition("=")[2] for text in variables if text.startswith("CUDA_VISIBLE_DEVICES=")]
    return told[0] if told else None


@pytest.mark.parametrize(
    ("device_ids", "seen"), [(["GPU-2", "GPU-1"], "GPU-2,GPU-1"), (["cpu"], ""), ([], None)]
)
async def test_a_backend_sees_the_devices_that_it_was_given(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, device_ids: list[str], seen: str | None
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    async with fleet.agent():
        await fleet.on_the_bus()
        registration = await fleet.registered()
        assert [device.id for device in registration.devices] == ["GPU-1", "GPU-2", "cpu"]
        assert await seen_devices(fleet, *device_ids) == seen
