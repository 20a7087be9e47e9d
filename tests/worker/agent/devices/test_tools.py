"""AMD's and Intel's tools, played by scripts on the path that print what the real ones print."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from weft_common.machine_memory import machine_memory
from weft_worker.agent.devices.amd import AmdSource
from weft_worker.agent.devices.facts import DeviceFacts, DeviceProcess, DevicesUnavailable
from weft_worker.agent.devices.intel import IntelSource

MIB, GIB = 2**20, 2**30
Install = Callable[[str, Mapping[str, object]], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a tool on the path that answers by its arguments, and fails for others."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def installed(name: str, answers: Mapping[str, object]) -> None:
        cases = ""
        for number, (arguments, answer) in enumerate(answers.items()):
            text = answer if isinstance(answer, str) else json.dumps(answer)
            (tmp_path / f"{name}.{number}").write_text(text)
            cases += f'"{arguments}") exec /bin/cat {tmp_path}/{name}.{number};;\n'
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}*) echo "no such thing" >&2; exit 2;;\nesac\n')
        script.chmod(0o755)

    return installed


def in_mib(value: object) -> Mapping[str, object]:
    return {"value": value, "unit": "MB"}


METRIC = {
    "gpu_data": [
        {
            "gpu": 0,
            "mem_usage": {"total_vram": in_mib(65520), "used_vram": in_mib(4080)},
            "usage": {"gfx_activity": {"value": 40, "unit": "%"}},
        },
        {"gpu": 1, "mem_usage": {"total_vram": in_mib(65520), "used_vram": in_mib("N/A")}, "usage": "N/A"},
    ]
}
LIST = [{"gpu": 0, "uuid": "c4ff74b5", "hip_uuid": "GPU-76a08c022586fed6"}, {"gpu": 1, "hip_uuid": "N/A"}]
ASIC = [
    {"gpu": 0, "asic": {"market_name": "AMD Instinct MI250X", "target_graphics_version": "gfx90a"}},
    {"gpu": 1, "asic": "N/A"},
]
PROCESS = [
    {
        "gpu": 0,
        "process_list": [
            {
                "process_info": {
                    "name": "python3",
                    "pid": 71,
                    "memory_usage": {"vram_mem": {"value": MIB, "unit": "B"}},
                }
            },
            {"process_info": "No running processes detected"},
        ],
    }
]


def test_amd_smi(install: Install) -> None:
    install(
        "amd-smi",
        {
            "metric --mem-usage --usage --json": METRIC,
            "list -e --json": LIST,
            "static --asic --json": ASIC,
            "process --json": PROCESS,
        },
    )
    one, other = AmdSource().look()
    assert one == DeviceFacts(
        id="GPU-76a08c022586fed6",
        name="AMD Instinct MI250X",
        vendor="amd",
        total_bytes=65520 * MIB,
        free_bytes=61440 * MIB,
        used_bytes=4080 * MIB,
        utilization=0.4,
        processes=(DeviceProcess(71, MIB, "python3"),),
        processes_told=True,
        compute_capability="gfx90a",
        handle="GPU-76a08c022586fed6",
    )
    assert (other.id, other.handle, other.free_bytes, other.utilization) == ("amd-1", "1", 65520 * MIB, None)


def test_amd_smi_that_tells_memory_alone(install: Install) -> None:
    install("amd-smi", {"metric --mem-usage --usage --json": "WARNING: old driver\n" + json.dumps(METRIC)})
    assert [(gpu.id, gpu.name) for gpu in AmdSource().look()] == [("amd-0", "AMD GPU"), ("amd-1", "AMD GPU")]


def test_rocm_smi_where_there_is_no_amd_smi(install: Install) -> None:
    wanted = "--showproductname --showuniqueid --showuse --showmeminfo vram --json"
    card = {
        "Unique ID": "0x7b5c1f2e3d4a5b6c",
        "GPU use (%)": "97",
        "VRAM Total Memory (B)": str(16 * GIB),
        "VRAM Total Used Memory (B)": str(GIB),
        "Card Series": "Radeon RX 7900 XT",
        "GFX Version": "gfx1100",
    }
    install("rocm-smi", {wanted: {"card0": card, "system": {"Driver version": "6.8.5"}}})
    (gpu,) = AmdSource().look()
    assert (gpu.id, gpu.name, gpu.utilization) == ("GPU-7b5c1f2e3d4a5b6c", "Radeon RX 7900 XT", 0.97)
    assert (gpu.total_bytes, gpu.free_bytes, gpu.compute_capability) == (16 * GIB, 15 * GIB, "gfx1100")


def test_xpu_smi(install: Install) -> None:
    listed = {"device_id": 1, "device_name": "Intel(R) Data Center GPU Max 1550", "uuid": "0000-4b"}
    stats = [
        {"metrics_type": "XPUM_STATS_MEMORY_USED", "value": 1024.0},
        {"metrics_type": "XPUM_STATS_GPU_UTILIZATION", "value": 12.5},
    ]
    install(
        "xpu-smi",
        {
            "discovery -j": {"device_list": [listed]},
            "discovery -d 1 -j": {**listed, "memory_physical_size_byte": str(64 * GIB)},
            "stats -d 1 -j": {"device_id": 1, "device_level": stats},
        },
    )
    assert IntelSource().look() == (
        DeviceFacts(
            "0000-4b",
            "Intel(R) Data Center GPU Max 1550",
            "intel",
            64 * GIB,
            63 * GIB,
            GIB,
            utilization=0.125,
            handle="1",
        ),
    )


@pytest.mark.parametrize("source", [AmdSource, IntelSource])
def test_without_tools_there_is_nothing(install: Install, source: type[AmdSource | IntelSource]) -> None:
    assert source().look() == ()


@pytest.mark.parametrize("answer", ["", "no driver", '{"gpu_data": ', "[" * 100_000])
def test_a_tool_that_gives_no_json_is_no_answer(install: Install, answer: str) -> None:
    install("amd-smi", {"metric --mem-usage --usage --json": answer})
    with pytest.raises(DevicesUnavailable, match="amd-smi gave no JSON"):
        AmdSource().look()


@pytest.mark.parametrize("answer", ["[]", "{}", "[1, null]", '"text"', '[{"gpu": "N/A"}]', '{"gpu_data": 5}'])
def test_json_of_another_shape_is_no_device(install: Install, answer: str) -> None:
    install("amd-smi", {"metric --mem-usage --usage --json": answer})
    install("xpu-smi", {"discovery -j": answer})
    assert (AmdSource().look(), IntelSource().look()) == ((), ())


def test_a_processor_with_graphics_takes_the_machines_memory(install: Install) -> None:
    small = {"total_vram": in_mib(512), "used_vram": in_mib(100)}
    shared = {"total_gtt": in_mib(64 << 10), "used_gtt": in_mib(1024)}
    told = [{"gpu": 0, "mem_usage": {**small, **shared}}, {"gpu": 1, "mem_usage": small}]
    install("amd-smi", {"metric --mem-usage --usage --json": told})
    machine = machine_memory()
    one, other = AmdSource().look()
    assert (one.total_bytes, one.used_bytes) == ((64 << 10) * MIB + 512 * MIB, 1124 * MIB)
    assert 0 < one.free_bytes <= machine.total_bytes
    assert (other.total_bytes, other.free_bytes > 0) == (machine.total_bytes, True)


def test_graphics_of_intel_without_memory_of_its_own_have_the_machines(install: Install) -> None:
    listed = {"device_id": 0, "device_name": "Intel(R) Graphics", "memory_physical_size_byte": "0"}
    install("xpu-smi", {"discovery -j": {"device_list": [listed]}, "discovery -d 0 -j": listed})
    (gpu,) = IntelSource().look()
    assert (gpu.total_bytes, gpu.free_bytes > 0) == (machine_memory().total_bytes, True)


def test_tools_get_none_of_our_secrets(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("WEFT_REGISTRATION_TOKEN", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/rocm/lib")
    script = tmp_path / "amd-smi"
    script.write_text(f"#!/bin/sh\nset > {tmp_path}/seen\necho []\n")
    script.chmod(0o755)
    AmdSource().look()
    seen = (tmp_path / "seen").read_text()
    assert ("secret" in seen, "/opt/rocm/lib" in seen) == (False, True)
