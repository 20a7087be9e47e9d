"""GGUF files before the library sees them."""

from pathlib import Path

import pytest

from weft_common.errors import LoadFailed
from weft_worker.engines.llamacpp.weights import check_weights, default_thread_count, read_ahead


def test_a_gguf_file_has_its_size(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 96)
    assert check_weights(path) == 100


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="cannot be read on this node: Is a directory"):
        check_weights(tmp_path)


async def test_reading_ahead_tells_how_much_is_there(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"\0" * (20 << 20))
    told: list[float] = []
    await read_ahead(path, 20 << 20, told.append)
    assert told == [0.4, 0.8, 1.0]


async def test_all_parts_of_a_split_model_are_checked_and_read_ahead(tmp_path: Path) -> None:
    first, second = (tmp_path / f"m-0000{part}-of-00002.gguf" for part in (1, 2))
    first.write_bytes(b"GGUF".ljust(8 << 20, b"\0"))
    with pytest.raises(LoadFailed, match=r"m-00002-of-00002.gguf cannot be read"):
        check_weights(first)
    second.write_bytes(b"GGUF".ljust(8 << 20, b"\0"))
    assert check_weights(first) == 16 << 20
    told: list[float] = []
    await read_ahead(first, 16 << 20, told.append)
    assert told == [0.5, 1.0]


async def test_a_file_beyond_the_free_memory_is_not_read_ahead(tmp_path: Path) -> None:
    told: list[float] = []
    await read_ahead(tmp_path / "huge.gguf", 1 << 60, told.append)
    assert told == []


def test_a_tiny_model_is_computed_by_one_thread() -> None:
    assert default_thread_count(2_000_000) == 1


def test_a_large_model_leaves_a_core_to_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.cpu_count", lambda logical: 8)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)))
    assert default_thread_count(4_000_000_000) == 5
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0})
    assert default_thread_count(4_000_000_000) == 1
