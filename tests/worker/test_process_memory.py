import os
import subprocess
import sys
from pathlib import Path

from weft_worker.process_memory import group_memory

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


def _process(proc: Path, pid: int, group: int, pss_kib: int) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "stat").write_text(f"{pid} (python3) S 1 {group} {group} 0")
    rollup = (
        f"55d0-7ffc ---p 00000000 00:00 0    [rollup]\nRss: 9999 kB\nPss: {pss_kib} kB\nPss_Dirty: 7 kB\n"
    )
    (proc / str(pid) / "smaps_rollup").write_text(rollup)


def test_a_replica_holds_the_share_of_each_process_of_its_group(tmp_path: Path) -> None:
    for pid, group, pss_kib in ((10, 10, 500), (11, 10, 24), (20, 20, 7)):
        _process(tmp_path, pid, group, pss_kib)
    (tmp_path / "meminfo").touch()
    assert group_memory([10, 20, 30], tmp_path) == {10: 524 << 10, 20: 7 << 10, 30: 0}


def test_a_process_that_ends_meanwhile_holds_nothing(tmp_path: Path) -> None:
    _process(tmp_path, 10, 10, 500)
    (tmp_path / "11").mkdir()
    assert group_memory([10, 11], tmp_path) == {10: 500 << 10, 11: 0}


def test_where_the_system_has_no_such_list_nothing_is_known(tmp_path: Path) -> None:
    assert group_memory([10], tmp_path / "none") == {10: 0}
