"""Files that are interrupted, damaged or gone on their way to workers: what arrives is whole, or nothing is loaded."""

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.stack import Stack, eventually, free_port
from tests.e2e.weights import (
    MIB,
    Waiters,
    add_weights,
    came,
    digest,
    kept,
    load,
    staged,
    status,
    wait_until_staged,
)
from tests.faults import Link, kill
from tests.small_disks import small_disk

pytestmark = pytest.mark.e2e

TIMERS = {"WEFT_HEARTBEAT_INTERVAL": "1s", "WEFT_NODE_SILENCE": "6s", "WEFT_NODE_LOST": "8s"}
# What was under way when the way was cut comes again: two chunks that were being written, one that arrived, and what
# routers had handed to the network. A transfer that begins anew would cost the 24 MiB that are there by then.
_IN_FLIGHT_MIB = 20


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two routers that send no more than 16 MiB a second each, so that faults hit the middle."""
    made = Stack(tmp_path_factory.mktemp("slow") / "home", free_port())
    made.up(
        "--routers",
        "2",
        WEFT_AUTO_APPROVE_NODES="true",
        WEFT_EXPOSE_NODE_HEADER="true",
        WEFT_STAGING_BANDWIDTH="16MiB",
        WEFT_LOAD_ORPHAN="2s",
        WEFT_LOAD_COOLDOWN="0s",
        **TIMERS,
    )
    yield made
    made.leave()


@contextlib.contextmanager
def loading(stack: Stack, model: str, node: str) -> Iterator[None]:
    """Have a load under way, whatever becomes of the one who asked for it."""

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError):
            load(stack, model, node)

    thread = threading.Thread(target=ask)
    thread.start()
    yield
    thread.join()


def only_on(stack: Stack, model: str, node: str) -> None:
    """Have a model run there and nowhere else."""
    done = stack.weft("policy", "set", model, "--selector", f"node.name={node}")
    assert done.returncode == 0, done.stderr


def running(stack: Stack, model: str) -> list[str]:
    """Processes of a model, on any node."""
    return [p.name for p in stack.parts("replica:") if f"/{model}#" in p.name]


def replicas(stack: Stack, model: str) -> list[str]:
    """Rows of a model that somebody holds."""
    with stack.client() as client:
        found = client.get("/api/nodes/models?page_size=1000").json()["replicas"]
    return [r["id"] for r in found if r["model"] == model]


def sent_in_vain(stack: Stack, model: str) -> int:
    """Bytes that routers sent to the only node that this model goes to, and that are not there."""
    return came(stack)["router"] - staged(stack, model)


def freed(stack: Stack, model: str) -> bool:
    """Whether nothing is left of a load: no job, no row, no process."""
    state = status(stack, model).get("state", "LOAD_STATE_FAILED")
    return state == "LOAD_STATE_FAILED" and not replicas(stack, model) and not running(stack, model)


def test_a_file_that_is_interrupted_three_times_goes_on_where_it_stopped_and_verifies(slow: Stack) -> None:
    path = add_weights(slow, "torn", 144)
    address = f"127.0.0.1:{free_port()}"
    with Link("127.0.0.1", int(address.rpartition(":")[2])) as link:
        env = {"WEFT_ADDR": address, "WEFT_ADVERTISE_ADDR": f"127.0.0.1:{link.port}", **TIMERS}
        with slow.second_worker("two", **env) as two, loading(slow, "torn", "two"):
            before = wait_until_staged(slow, "torn", 24)
            two.kill()
            two.start()
            assert wait_until_staged(slow, "torn", 48) >= before
            assert sent_in_vain(slow, "torn") <= _IN_FLIGHT_MIB * MIB

            before = staged(slow, "torn")
            with link.refused():
                pass
            assert wait_until_staged(slow, "torn", 72) >= before
            assert sent_in_vain(slow, "torn") <= 2 * _IN_FLIGHT_MIB * MIB

            sent = came(slow)["router"]
            before = staged(slow, "torn")
            kill(*slow.parts("router-"))
            eventually(lambda: all(p.state == "ready" for p in slow.parts("router-")), what="routers back")
            went_on_at = eventually(
                lambda: staged(slow, "torn") or (running(slow, "torn") and path.stat().st_size),
                seconds=30,
                what="the load taken over",
            )
            assert went_on_at >= before - _IN_FLIGHT_MIB * MIB
            assert slow.chat("torn", "tokens=1").headers["x-weft-node"] == "two"
            sent += came(slow)["router"]
            assert sent <= path.stat().st_size + 3 * _IN_FLIGHT_MIB * MIB
            assert kept(slow, "two", path) == digest(path)

            with slow.second_worker("three", **TIMERS):
                before = came(slow)["router"]
                answer = load(slow, "torn", "three")
                assert answer.status_code == 200, answer.text
                assert kept(slow, "three", path) == digest(path)
                assert (came(slow)["router"], came(slow)["worker"]) == (before, path.stat().st_size)


def test_a_full_disk_is_told_to_everybody_who_waits_and_leaves_nothing(slow: Stack) -> None:
    with slow.second_worker("small", WEFT_FILES_QUOTA="16MiB", **TIMERS):
        add_weights(slow, "large", 48)
        only_on(slow, "large", "small")
        with Waiters(slow, "large", 3) as waiters:
            answers = waiters.answers()
        assert {code for code, _ in answers} <= {503, 507}
        assert all("disk" in words or "no room" in words for _, words in answers), answers
        eventually(lambda: freed(slow, "large"), what="everything freed")
        with slow.client() as client:
            stored = client.get("/api/nodes/small/files").json()
        assert (stored["models"], int(stored["used_bytes"])) == ([], 0)


@pytest.fixture
def brimful(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "96m") as disk:
        yield disk


def test_a_disk_that_others_fill_under_way_is_told_to_everybody_who_waits_and_leaves_nothing(
    slow: Stack, brimful: Path
) -> None:
    files = brimful / "files"
    with slow.second_worker("brim", WEFT_FILES_PATH=str(files), **TIMERS):
        path = add_weights(slow, "brimming", 64)
        only_on(slow, "brimming", "brim")
        with Waiters(slow, "brimming", 3) as waiters:
            wait_until_staged(slow, "brimming", 16)
            take_what_was_set_aside(files / "partial")
            fill(brimful / "others")
            answers = waiters.answers()
        assert {code for code, _ in answers} <= {503, 507}
        assert all("disk" in words or "no room" in words for _, words in answers), answers
        eventually(lambda: freed(slow, "brimming"), what="everything freed")
        eventually(lambda: not list((files / "partial").iterdir()), what="no part left")
        assert not list(brimful.rglob(path.name))

        (brimful / "others").unlink()
        eventually(lambda: slow.chat("brimming", "tokens=1").status_code == 200, seconds=60, what="loaded")
        assert digest(next(brimful.rglob(path.name))) == digest(path)


def take_what_was_set_aside(parts: Path) -> None:
    """What a file system does that keeps no room for a file: what is not written there is anybody's."""
    for part in parts.iterdir():
        if part.suffix == "" and part.stat().st_size > 32 * MIB:
            os.truncate(part, 32 * MIB)


def fill(path: Path) -> None:
    """Write until the disk takes no more."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_source_that_vanishes_is_told_to_everybody_who_waits(slow: Stack) -> None:
    with slow.second_worker("empty", **TIMERS):
        path = add_weights(slow, "fleeting", 96)
        only_on(slow, "fleeting", "empty")
        with Waiters(slow, "fleeting", 3) as waiters:
            wait_until_staged(slow, "fleeting", 16)
            told = status(slow, "fleeting")
            assert (told["state"], told["node"]) == ("LOAD_STATE_STAGING", "empty")
            assert re.fullmatch(r"staging [\d.]+ of 96\.0 MiB to empty from the router", told["message"])
            assert int(told["total_bytes"]) == path.stat().st_size
            path.unlink()
            answers = waiters.answers()
        assert {code for code, _ in answers} == {503}
        assert all(f"parameters.model: '{path}' is gone" in words for _, words in answers), answers
        eventually(lambda: freed(slow, "fleeting"), what="everything freed")
        eventually(lambda: not parts(slow, "empty"), what="no part left")


def test_bytes_that_change_under_way_are_never_loaded_with_the_old_ones(slow: Stack) -> None:
    with slow.second_worker("two", **TIMERS):
        path = add_weights(slow, "changing", 64)
        only_on(slow, "changing", "two")
        stat = path.stat()
        with Waiters(slow, "changing") as waiters:
            wait_until_staged(slow, "changing", 8)
            with path.open("r+b") as file:
                file.seek(60 * MIB)
                file.write(os.urandom(MIB))
            # As it looks where the change does not show.
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            assert waiters.answers() == [(200, "")] * 2
        assert kept(slow, "two", path) == digest(path)


def test_bytes_that_are_never_what_they_were_are_told_to_everybody_who_waits_and_never_loaded(
    slow: Stack,
) -> None:
    with slow.second_worker("calm", **TIMERS):
        path = add_weights(slow, "restless", 128)
        only_on(slow, "restless", "calm")
        with Waiters(slow, "restless", 3) as waiters:
            wait_until_staged(slow, "restless", 64)
            rewrite_end(path, 120)
            # Well below what was there: routers tell it a moment late. Only what has been read to its end comes again.
            eventually(lambda: 0 < staged(slow, "restless") < 48 * MIB, seconds=30, what="read once more")
            rewrite_end(path, 16)
            answers = waiters.answers()
        assert all(
            f"parameters.model: '{path}' is not what it was when it was read, twice" in words
            for _, words in answers
        ), answers
        assert all(code >= 500 for code, _ in answers), answers
        told = {(a.json()["error"]["type"], a.json()["error"]["code"]) for a in waiters.responses()}
        assert told == {("server_error", "checksum_mismatch")}
        eventually(lambda: freed(slow, "restless"), what="everything freed")
        assert not list((slow.home / "worker" / "calm").rglob(path.name))
        eventually(lambda: not parts(slow, "calm"), what="no part left")


def parts(stack: Stack, node: str) -> list[Path]:
    """Files on a worker that are not whole."""
    return list((stack.home / "worker" / node).rglob("partial/*"))


def rewrite_end(path: Path, mebibytes: int) -> None:
    """Change the end of a file, and have it look as if nobody had."""
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(-mebibytes * MIB, os.SEEK_END)
        file.write(os.urandom(mebibytes * MIB))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_killed_routers_leave_nobody_who_waits_without_an_answer(slow: Stack) -> None:
    with slow.second_worker("two", **TIMERS):
        path = add_weights(slow, "orphaned", 96)
        only_on(slow, "orphaned", "two")
        with Waiters(slow, "orphaned", 4) as waiters:
            wait_until_staged(slow, "orphaned", 16)
            kill(*slow.parts("router-"))
            for answer in waiters.responses():
                assert answer.status_code in (200, 503), answer.text
                if answer.status_code == 503:
                    assert int(answer.headers["retry-after"]) > 0
                    assert answer.json()["error"]["message"]
        # The load outlives its routers.
        eventually(lambda: slow.chat("orphaned", "tokens=1").status_code == 200, seconds=60, what="loaded")
        assert kept(slow, "two", path) == digest(path)


def test_a_worker_that_is_gone_for_good_has_its_load_go_to_another_node(slow: Stack) -> None:
    far = {"WEFT_NODE_LABELS": "pool=far", **TIMERS}
    with slow.second_worker("east", **far) as east, slow.second_worker("west", **far) as west:
        path = add_weights(slow, "moved", 96)
        done = slow.weft("policy", "set", "moved", "--selector", "pool=far")
        assert done.returncode == 0, done.stderr
        with Waiters(slow, "moved") as waiters:
            wait_until_staged(slow, "moved", 8)
            gone = status(slow, "moved")["node"]
            (east if gone == "east" else west).kill()
            assert waiters.answers() == [(200, "")] * 2
        (other,) = {"east", "west"} - {gone}
        assert kept(slow, other, path) == digest(path)
        assert slow.chat("moved", "tokens=1").headers["x-weft-node"] == other
