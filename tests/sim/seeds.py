"""Seeds of worlds that must hold: fixed ones, those that once found something, and one that nobody has seen yet."""

import os
from random import SystemRandom

from tests.sim.shape import Shape
from tests.sim.world import World


def live(shape: Shape) -> World:
    """Run a world to its end; the error names the seed."""
    world = World(shape)
    world.run()
    return world


def fresh_seed() -> int:
    """A new seed, or the one that SIM_SEED says, so that what a run found can be run again."""
    return int(os.environ.get("SIM_SEED") or SystemRandom().randrange(1 << 32))


def small(seed: int, requests: int = 2_000) -> Shape:
    """A dozen machines with more models than fit, and a fault for every twentieth request."""
    return Shape(seed, model_count=12, fault_share=0.05, request_count=requests)


def large(seed: int, requests: int = 10_000) -> Shape:
    """Thirty machines, three routers, and a fault for every hundredth request."""
    return Shape(
        seed,
        node_count=30,
        model_count=40,
        router_count=3,
        requests_per_second=40.0,
        request_count=requests,
    )
