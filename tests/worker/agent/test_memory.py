import os
import subprocess
import sys
from pathlib import Path

from weft_worker.agent.memory import group_memory, machine_memory

HOLD_64_MB = "import sys; held = bytearray(64 << 20); print('held', flush=True); sys.stdin.read()"


def test_the_memory_of_a_process_group_is_measured() -> None:
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", HOLD_64_MB],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        held = group_memory([process.pid])[process.pid]
    assert 64 << 20 <= held < 128 << 20


def test_a_group_that_is_gone_holds_nothing() -> None:
    assert group_memory([2**22 + 1]) == {2**22 + 1: 0}


def test_resident_pages_stand_in_where_the_kernel_does_not_tell(tmp_path: Path) -> None:
    process = tmp_path / "7"
    process.mkdir()
    (process / "stat").write_text("7 (a (b) c) S 1 7 7 0")
    (process / "statm").write_text("100 25 0 0 0 0 0")
    (tmp_path / "self").mkdir()
    assert group_memory([7], tmp_path) == {7: 25 * os.sysconf("SC_PAGE_SIZE")}


def test_a_control_group_makes_the_machine_smaller(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{64 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{30 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {10 << 20}\n")
    memory = machine_memory(tmp_path)
    assert (memory.total_bytes, memory.available_bytes) == (64 << 20, 44 << 20)


def test_a_control_group_without_a_limit_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert machine_memory(tmp_path).total_bytes == machine_memory(tmp_path / "none").total_bytes > 0
