"""Fleets to measure on: a thousand machines, and as many replicas elsewhere as asked for."""

from random import Random

from tests.router.builders import GIB, a_held_replica, a_model, a_node
from weft_router.fleet.entities import Changes, Device, Model, Node, Replica, Share
from weft_router.fleet.fleet import Fleet

NOW = 10_000.0
NODES = 1_000


def machine(number: int) -> Node:
    """One of many machines: 160 GiB on two devices, in one of ten zones."""
    devices = tuple(Device(f"g{i}", "GPU", "nvidia", 80 * GIB, 80 * GIB) for i in range(2))
    return a_node(f"n{number}", devices=devices, labels={"zone": f"z{number % 10}"}, max_replicas_per_model=4)


def fleet_with(elsewhere: int, *, gib: float = 4.0, mine: int = 64) -> Fleet:
    """A thousand machines with `mine` replicas of model "m" and so many of others, some of them at work."""
    rng = Random(1)
    models = [a_model("m", size_bytes=4 * GIB), *(a_model(f"o{i}", size_bytes=4 * GIB) for i in range(200))]
    replicas = [_replica(f"m-{i}", models[0], i, 0, gib) for i in range(mine)]
    for i in range(elsewhere):
        turn, node = divmod(i, NODES - mine)
        replicas.append(_replica(f"o-{i}", models[1 + i % 200], mine + node, turn, gib))
    fleet = Fleet()
    nodes = tuple(machine(i) for i in range(NODES))
    fleet.apply(Changes(1, nodes, tuple(replicas), tuple(models)), 0.0)
    for node_id in fleet.nodes:
        there = fleet.replicas_on(node_id)
        fleet.report(node_id, {r.id: 1 for r in there}, rng.uniform(0, NOW - 100))
        fleet.report(node_id, {r.id: int(rng.random() < 0.3) for r in there}, NOW)
    return fleet


def _replica(replica_id: str, model: Model, node: int, turn: int, gib: float) -> Replica:
    """The one of that turn on a machine; turns take its devices in turn."""
    device = f"g{turn % 2}"
    share = Share(device, int(gib * GIB))
    return a_held_replica(
        replica_id, model.name, gib, node_id=f"n-n{node}", index=turn, device=device, shares=(share,)
    )
