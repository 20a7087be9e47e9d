"""Parts die and hang at random for a minute and a half; with two replicas nobody notices."""

import contextlib
import random
import secrets
import time

import pytest

from tests.e2e.crowd import chat, traffic
from tests.e2e.pair import STURDY, Pair
from tests.e2e.stack import eventually
from tests.faults import kill, paused, slowed

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

VICTIMS = ("postgres", "nats", "router-0", "gateway-0", "gateway-1", "worker-local")
STORM_SECONDS = 90.0


def test_a_storm_of_deaths_and_pauses_costs_no_request(pair: Pair) -> None:
    seed = secrets.randbits(32)
    rng = random.Random(seed)
    pair.ensure(STURDY)
    story = []
    over = time.monotonic() + STORM_SECONDS
    with traffic(pair.stack, chat(STURDY, "tokens=5 delay_ms=10")) as asked:
        while time.monotonic() < over and not asked.failures:
            name, harm = rng.choice(VICTIMS), rng.choice(("kill", "pause", "slow"))
            story.append(f"{harm} {name}")
            hurt(pair, name, harm, rng)
    assert asked.failures == [], f"seed {seed}: {story}"
    assert set(pair.ensure(STURDY)) == {"local", "two"}, f"seed {seed}: {story}"


def hurt(pair: Pair, name: str, harm: str, rng: random.Random) -> None:
    """Do it, and wait until the part is back: a second gateway's death would leave nobody to ask."""
    part = pair.stack.part(name)
    with contextlib.ExitStack() as undo:
        if harm == "kill":
            kill(part)
        elif harm == "pause":
            undo.enter_context(paused(part, seconds=rng.uniform(0.1, 4)))
            time.sleep(rng.uniform(0.1, 4))
        else:
            undo.enter_context(slowed(part, share=0.2))
            time.sleep(2)
    eventually(lambda: is_ready(pair, name, harm, part.pid), what=f"{name} ready again", seconds=40)


def is_ready(pair: Pair, name: str, harm: str, former: int) -> bool:
    parts = [part for part in pair.stack.parts(name) if part.name == name and part.state == "ready"]
    back = bool(parts) and (harm != "kill" or parts[0].pid != former)
    return back and (not name.startswith("gateway-") or parts[0].address in pair.stack.gateways_asked())
