"""`python -m tests.sim`: one large world, with what became of it; the seed replays it."""

import argparse
import sys
import time
from collections import Counter
from random import SystemRandom

from tests.sim.ledger import Broken
from tests.sim.process import Outcome
from tests.sim.shape import Shape
from tests.sim.world import World


def main() -> int:
    """Run a world as large as the arguments say; 1 if a rule did not hold."""
    shape = _shape()
    size = f"{shape.node_count:,} nodes, {shape.model_count:,} models, {shape.request_count:,} requests"
    print(f"seed {shape.seed}: {size}", flush=True)
    world = World(shape)
    began = time.monotonic()
    try:
        world.run()
    except Broken as broken:
        print(f"BROKEN {broken}")
        return 1
    finally:
        _tell(world, time.monotonic() - began)
    print("no invariant broken, everything healed")
    return 0


def _tell(world: World, seconds: float) -> None:
    ended = sum(world.ledger.counts[f"requests {o.value}"] for o in Outcome)
    events = world.agenda.done_count
    states = Counter(n.state.value for n in world.store.nodes.values())
    replicas = Counter(r.state.value for r in world.store.replicas.values())
    print(world.ledger.table())
    print(f"in the end: nodes {dict(states)}, replicas {dict(replicas)}, sequence {world.store.sequence:,}")
    print(f"{seconds:.0f} s for {world.agenda.now:,.0f} s of the world: ", end="")
    print(f"{ended / seconds:,.0f} requests/s, {events / seconds:,.0f} events/s")


def _shape() -> Shape:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--per-second", type=float, default=1_500.0)
    parser.add_argument("--faults", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1 << 32))
    given = parser.parse_args()
    return Shape(
        seed=given.seed,
        node_count=given.nodes,
        model_count=given.models,
        request_count=given.requests,
        requests_per_second=given.per_second,
        fault_share=given.faults,
        router_count=3,
        view_lag_seconds=0.25,
        service_seconds=0.5,
    )


if __name__ == "__main__":
    sys.exit(main())
