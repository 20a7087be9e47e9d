"""Who lives in a simulated world: machines, models and policies, with everything that placement has to cope with."""

from dataclasses import dataclass
from random import Random

from tests.sim.shape import Shape
from weft_router.fleet.entities import Device, Model
from weft_router.fleet.policy import Policy, RoutePolicy

GIB = 1 << 30
# Machines and models of one pool keep to themselves, with more models than fit; the others go anywhere.
_POOL_NODES = 3
_POOL_MODELS = 6


@dataclass(frozen=True, slots=True)
class MachinePlan:
    """A machine before it is switched on; `invited` ones are let in when they register."""

    name: str
    devices: tuple[Device, ...]
    labels: dict[str, str]
    slots: int
    invited: bool
    engines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Population:
    """Everything that a world begins with."""

    machines: tuple[MachinePlan, ...]
    models: tuple[Model, ...]
    policies: tuple[Policy, ...]


def population(shape: Shape, rng: Random) -> Population:
    """Draw the inhabitants of a world."""
    pool_count = max(1, min(shape.node_count // (2 * _POOL_NODES), shape.model_count // (2 * _POOL_MODELS)))
    machines = tuple(_machine(i, pool_count, rng) for i in range(shape.node_count))
    pools = [f"p{i}" for i in range(pool_count)]
    bound = {f"m{i}": pools[i // _POOL_MODELS] for i in range(pool_count * _POOL_MODELS)}
    models = tuple(
        _model(f"m{i}", bound.get(f"m{i}"), machines, shape, rng) for i in range(shape.model_count)
    )
    return Population(machines, models, tuple(_policy(m, bound.get(m.name), shape, rng) for m in models))


def _machine(number: int, pool_count: int, rng: Random) -> MachinePlan:
    pool = f"p{number // _POOL_NODES}" if number < pool_count * _POOL_NODES else "open"
    kind = "usual" if pool != "open" else rng.choice(("usual", "usual", "usual", "cpu", "unknown", "vllm"))
    count = rng.choice((1, 1, 2, 4)) if pool == "open" else 1 + number // _POOL_NODES % 2
    size = (rng.choice((24, 24, 48, 80)) if pool == "open" else 48) * GIB
    used = rng.choice((0, 0, 1)) * GIB
    devices = tuple(Device(f"g{i}", "GPU", "nvidia", size, size - used) for i in range(count))
    if kind == "cpu":
        devices = (Device("cpu", "CPU", "cpu", 64 * GIB, 60 * GIB),)
    elif kind == "unknown":
        devices = (Device("g0", "GPU", "amd", 0, 0),)
    return MachinePlan(
        name=f"node-{number}",
        devices=devices,
        labels={"pool": pool},
        slots=rng.choice((1, 1, 2)),
        invited=pool != "open" or rng.random() > 0.1,
        engines=("vllm",) if kind == "vllm" else ("llama-cpp",),
    )


def _model(
    name: str, pool: str | None, machines: tuple[MachinePlan, ...], shape: Shape, rng: Random
) -> Model:
    """A model that fits somewhere; those of a pool need more together than its machines have."""
    limit = rng.choice((0, 0, 1))
    there = [m.devices for m in machines if m.labels["pool"] == (pool or "open")]
    total = sum(d.total_bytes for devices in there for d in devices)
    mean = total * shape.pressure / _POOL_MODELS if pool else 10 * GIB
    largest = max(
        (sum(d.free_bytes for d in devices[: limit or None]) for devices in there), default=24 * GIB
    )
    return Model(
        name=name,
        backend="llama-cpp",
        revision="rev1",
        path=f"/{name}.gguf",
        context_size=4096,
        thread_count=1,
        slot_count=rng.choice((2, 4, 8)),
        max_queue_count=16,
        size_bytes=int(min(mean * rng.uniform(0.5, 1.5), 0.7 * largest)),
        pinned=rng.random() < 0.05,
        concurrency_groups=("heavy",) if rng.random() < 0.1 else (),
        device_limit=limit,
        can_spill=rng.random() < 0.05,
    )


def _policy(model: Model, pool: str | None, shape: Shape, rng: Random) -> Policy:
    selector = {"pool": pool} if pool else {}
    route = rng.choice((RoutePolicy.ROUND_ROBIN, RoutePolicy.PREFIX_CACHE))
    least = most = 0
    if pool is None:
        least = rng.choice((0, 1, 1, 2)) * max(1, shape.node_count // 250)
        most = rng.choice((0, max(3, shape.node_count // 50), max(3, shape.node_count // 50), max(least, 2)))
    elif rng.random() < 0.1:
        least = 1
    everywhere = not pool and not least and not most and rng.random() < 0.02
    return Policy(model.name, selector, least, most, everywhere, route)
