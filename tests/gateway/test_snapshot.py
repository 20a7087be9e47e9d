"""The view on disk: written as routers tell it, and read back for a while."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.gateway.builders import a_full_update, a_policy, a_view, an_update
from weft_common.clock import ManualClock
from weft_gateway.fleet_view import FleetView
from weft_gateway.snapshot import Snapshot

LIFETIME = timedelta(minutes=10)


def keep(folder: Path, view: FleetView, clock: ManualClock) -> None:
    Snapshot(folder, view, clock, LIFETIME)._write()


def restored(folder: Path, clock: ManualClock) -> FleetView | None:
    view = a_view(clock)
    view.watched = False
    return view if Snapshot(folder, view, clock, LIFETIME).restore() else None


def test_a_restart_knows_what_was_known(tmp_path: Path) -> None:
    clock = ManualClock()
    view = a_view(clock)
    view.apply(a_full_update(7))
    keep(tmp_path, view, clock)
    clock.advance(60)
    again = restored(tmp_path, clock)
    assert again is not None
    assert ([t.replica_id for t in again.targets("m")], again.sequence, again.known) == (["r-1"], 7, True)


def test_policies_are_part_of_it(tmp_path: Path) -> None:
    clock = ManualClock()
    view = a_view(clock)
    view.apply(a_full_update(7, policies=[a_policy(node_selector={"zone": "east"})]))
    keep(tmp_path, view, clock)
    again = restored(tmp_path, clock)
    assert again is not None
    assert (again.policies, again.targets("m")) == (view.policies, [])


def test_it_serves_for_a_while_and_no_longer_unless_a_router_confirms_it(tmp_path: Path) -> None:
    clock = ManualClock()
    view = a_view(clock)
    view.apply(a_full_update(7))
    keep(tmp_path, view, clock)
    clock.advance(599)
    again = restored(tmp_path, clock)
    assert again is not None
    assert again.known
    clock.advance(2)
    assert not again.known
    again.apply(a_full_update(7))
    assert again.known


def test_one_that_is_too_old_is_not_read(tmp_path: Path) -> None:
    clock = ManualClock()
    view = a_view(clock)
    view.apply(a_full_update(7))
    keep(tmp_path, view, clock)
    clock.advance(601)
    assert restored(tmp_path, clock) is None


@pytest.mark.parametrize("content", [None, b"", b"x", b"\xff" * 40])
def test_a_missing_or_broken_file_is_no_view(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "fleet.binpb").write_bytes(content)
    assert restored(tmp_path, ManualClock()) is None


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    clock = ManualClock()
    keep(tmp_path / "new", a_view(clock), clock)
    assert (tmp_path / "new" / "fleet.binpb").stat().st_mode & 0o777 == 0o600


def test_what_a_router_told_just_before_it_went_is_kept_with_the_time_at_which_it_was_told(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    view = a_view(clock)
    snapshot = Snapshot(tmp_path, view, clock, LIFETIME)
    view.apply(a_full_update(7, replicas=[]))
    snapshot.look()
    view.apply(a_full_update(8))
    view.watched = False
    clock.advance(400)
    snapshot.look()
    again = restored(tmp_path, clock)
    assert again is not None
    assert ([t.replica_id for t in again.targets("m")], again.sequence) == (["r-1"], 8)
    clock.advance(201)
    assert restored(tmp_path, clock) is None


def test_its_age_counts_from_what_was_told_last_also_where_nothing_was_new(tmp_path: Path) -> None:
    clock = ManualClock()
    view = a_view(clock)
    snapshot = Snapshot(tmp_path, view, clock, LIFETIME)
    view.apply(a_full_update(7))
    snapshot.look()
    clock.advance(500)
    view.apply(an_update(0, heard=("n-1",)))
    snapshot.look()
    clock.advance(500)
    assert restored(tmp_path, clock) is not None
    clock.advance(500)
    snapshot.look()
    assert restored(tmp_path, clock) is None
