"""A replica goes while requests come: nobody is refused, and no stream is cut."""

import pytest

from tests.e2e.crowd import chat, traffic
from tests.e2e.pair import STURDY, Pair
from tests.e2e.stack import eventually

pytestmark = pytest.mark.e2e

ROUNDS = 2


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["gently", "by force"])
def test_requests_are_answered_while_a_replica_goes(pair: Pair, force: list[str]) -> None:
    pair.ensure(STURDY)
    with traffic(pair.stack, chat(STURDY, "tokens=2 delay_ms=1"), lanes=8) as lanes:
        for _ in range(ROUNDS):
            done = pair.stack.weft("unload", STURDY, "--node", "two", *force)
            assert done.returncode == 0, done.stderr
            assert lanes.goes_on(200), [(a.status, a.whole, a.body) for a in lanes.failures]
            eventually(lambda: "two" not in pair.replicas(STURDY), what="the end of the replica")
            pair.ensure(STURDY)
    assert not lanes.failures
