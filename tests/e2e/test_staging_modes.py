"""Loads as clients with little patience see them, and fleets that share their models so that nothing is brought."""

import pytest

from tests.e2e.pair import SHORT_TIMERS
from tests.e2e.stack import Stack, eventually
from tests.e2e.weights import MIB, add_weights, came, load, wait_until_staged

pytestmark = pytest.mark.e2e


def test_whoever_does_not_wait_for_the_files_is_told_how_far_they_are(own_stack: Stack) -> None:
    own_stack.up(
        WEFT_AUTO_APPROVE_NODES="true", WEFT_LOAD_WAIT="1s", WEFT_STAGING_BANDWIDTH="8MiB", **SHORT_TIMERS
    )
    with own_stack.second_worker("two", **SHORT_TIMERS):
        path = add_weights(own_stack, "slow", 48)
        done = own_stack.weft("policy", "set", "slow", "--selector", "node.name=two")
        assert done.returncode == 0, done.stderr
        told = []
        for mebibytes in (1, 20):
            answer = own_stack.chat("slow", "tokens=1")
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) > 0
            told.append(answer.json()["loading"])
            wait_until_staged(own_stack, "slow", mebibytes)
        told.append(own_stack.chat("slow", "tokens=1").json()["loading"])
        assert all((t["model"], t["state"], t["node"]) == ("slow", "staging", "two") for t in told), told
        staged = [t["staged_bytes"] for t in told]
        assert staged == sorted(staged)
        assert 20 * MIB <= staged[-1] < path.stat().st_size
        assert {t["total_bytes"] for t in told[1:]} == {path.stat().st_size}
        eventually(lambda: own_stack.chat("slow", "tokens=1").status_code == 200, seconds=60, what="loaded")


def test_nothing_is_brought_in_a_fleet_that_shares_the_models(own_stack: Stack) -> None:
    own_stack.up("--distributed-shared-models", WEFT_AUTO_APPROVE_NODES="true", **SHORT_TIMERS)
    with own_stack.second_worker("two", **SHORT_TIMERS):
        path = add_weights(own_stack, "common", 5)
        answer = load(own_stack, "common", "two")
        assert answer.status_code == 200, f"{answer.text}\n{own_stack.logs()}"
        assert own_stack.chat("common", "tokens=1").status_code == 200
        assert came(own_stack) == {}
        assert not list((own_stack.home / "worker" / "two").rglob(path.name))
