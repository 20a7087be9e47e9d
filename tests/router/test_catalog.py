"""The catalog follows a folder of model files, whatever lies in it."""

import os
from pathlib import Path

import pytest

from tests.router.fake_store import FakeStore
from tests.router.fakes import FakeBus
from weft_common.clock import ManualClock
from weft_router.catalog import Catalog
from weft_router.fleet.fleet import Fleet
from weft_router.sync import FleetSync


class World:
    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.fleet = folder, FakeStore(), Fleet()
        sync = FleetSync(self.store, FakeBus(), self.fleet)  # type: ignore[arg-type]  # a fake bus
        sync.known.set()
        self.catalog = Catalog(folder, store=self.store, sync=sync, fleet=self.fleet, clock=ManualClock())

    async def look(self) -> dict[str, int]:
        await self.catalog.look()
        return {name: model.context_size for name, model in self.fleet.models.items()}

    def write(self, file: str, name: str, context: int = 512) -> None:
        path = self.folder / file
        stamp = path.stat().st_mtime_ns if path.exists() else 0
        path.write_text(f"name: {name}\nparameters: {{model: x.gguf}}\ncontext_size: {context}\n")
        os.utime(path, ns=(stamp + 1, stamp + 1))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_files_are_models(world: World) -> None:
    world.write("a.yaml", "a")
    world.write("b.yml", "org/b", 1024)
    world.write("c.txt", "c")
    assert await world.look() == {"a": 512, "org/b": 1024}


async def test_a_changed_file_changes_its_model_and_a_removed_one_removes_it(world: World) -> None:
    world.write("a.yaml", "a")
    world.write("b.yaml", "b")
    await world.look()
    before = world.fleet.models["a"].revision
    world.write("a.yaml", "a", 256)
    (world.folder / "b.yaml").unlink()
    assert await world.look() == {"a": 256}
    assert world.fleet.models["a"].revision != before


async def test_a_look_without_news_writes_nothing(world: World) -> None:
    world.write("a.yaml", "a")
    await world.look()
    sequence = world.store.sequence
    await world.look()
    assert world.store.sequence == sequence


async def test_a_broken_file_keeps_what_was_there_and_says_why(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.write("a.yaml", "a")
    await world.look()
    (world.folder / "a.yaml").write_text("name: [")
    assert await world.look() == {"a": 512}
    assert "model_file_rejected" in caplog.text


@pytest.mark.parametrize("name", ["x.yaml", ".#a.yaml"])
async def test_a_dangling_link_harms_nobody(world: World, name: str) -> None:
    world.write("a.yaml", "a")
    (world.folder / name).symlink_to("/nope")
    assert await world.look() == {"a": 512}


async def test_of_two_files_with_one_name_the_first_holds_and_the_other_is_reported(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.write("a.yaml", "a")
    world.write("b.yaml", "a", 1024)
    assert await world.look() == {"a": 512}
    assert "model_file_rejected" in caplog.text


async def test_an_absent_folder_is_an_empty_catalog(tmp_path: Path) -> None:
    assert await World(tmp_path / "nowhere").look() == {}
