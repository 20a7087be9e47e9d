from pathlib import Path

import pytest

from weft_common import machine_memory as memory
from weft_common.machine_memory import machine_memory


def test_a_control_group_makes_the_machine_smaller(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{64 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{30 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {10 << 20}\n")
    memory = machine_memory(tmp_path)
    assert (memory.total_bytes, memory.available_bytes) == (64 << 20, 44 << 20)


def test_a_control_group_without_a_limit_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert machine_memory(tmp_path).total_bytes == machine_memory(tmp_path / "none").total_bytes > 0


def _group(folder: Path, limit: str, current_mib: int, cache_mib: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current_mib << 20}\n")
    (folder / "memory.stat").write_text(f"anon 0\ninactive_file {cache_mib << 20}\nactive_file 0\n")


def test_the_tightest_of_the_groups_above_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    _group(tmp_path / "pod", str(256 << 20), current_mib=100, cache_mib=40)
    _group(tmp_path / "pod" / "worker", "max", current_mib=90)
    found = machine_memory(tmp_path / "pod" / "worker")
    assert (found.total_bytes, found.available_bytes) == (256 << 20, 196 << 20)
