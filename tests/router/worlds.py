"""Fleets made up by hypothesis: consistent, but with everything in them that placement has to cope with."""

from dataclasses import replace

from hypothesis import strategies as st

from tests.router.builders import GIB, a_fleet, a_model, a_node
from weft_router.fleet.entities import Changes, Device, Model, Node, NodeState, Replica, ReplicaState, Share
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.policy import Policy

NOW = 1000.0
_ZONES = ("eu", "us")
_STATES = (*(NodeState.HEALTHY,) * 4, *NodeState)

_policies = st.builds(
    lambda least, zone, everywhere: {
        "min_replicas": least,
        "node_selector": {"zone": zone} if zone else {},
        "spread_all": everywhere and not least,
    },
    st.sampled_from((0, 0, 0, 1, 2)),
    st.sampled_from((None, None, *_ZONES)),
    st.sampled_from((False, False, False, True)),
)


@st.composite
def models(draw: st.DrawFn, name: str) -> Model:
    """A model of some size, pinned now and then, in a group now and then."""
    return a_model(
        name,
        size_bytes=draw(st.integers(1, 40)) * GIB,
        pinned=draw(st.integers(0, 5)) == 0,
        concurrency_groups=draw(st.sampled_from(((), (), ("heavy",)))),
        device_limit=draw(st.sampled_from((0, 0, 1, 2))),
    )


@st.composite
def nodes(draw: st.DrawFn, name: str, *, limited: bool = True) -> Node:
    """A machine with one to three devices, some of which do not know their memory."""
    count = draw(st.integers(1, 3))
    totals = [draw(st.sampled_from((24, 24, 48, 0))) * GIB for _ in range(count)]
    state = draw(st.sampled_from(_STATES))
    return a_node(
        name,
        state=state,
        approved=state is not NodeState.PENDING,
        labels={"zone": draw(st.sampled_from(_ZONES))},
        devices=tuple(Device(f"g{i}", "GPU", "nvidia", t, t) for i, t in enumerate(totals)),
        engines=draw(st.sampled_from((("llama-cpp",), ("llama-cpp",), ("vllm",)))),
        max_replicas_per_model=draw(st.integers(1, 2)),
        max_replicas=draw(st.sampled_from((0, 0, 1, 2, 3))) if limited else 0,
    )


@st.composite
def fleets(draw: st.DrawFn, *, node_count: int = 4, limited: bool = True) -> Fleet:
    """Nodes with replicas that really fit there, some busy, some fresh, some outdated, some leaving."""
    there = [draw(nodes(name, limited=limited)) for name in "abcdef"[: draw(st.integers(0, node_count))]]
    known = [draw(models(f"m{i}")) for i in range(4)]
    fleet = a_fleet(*there, *known, *(Policy(m.name, **draw(_policies)) for m in known), now=0)
    replicas = [r for node in there if node.approved for r in draw(_replicas(node, known))]
    for replica in replicas:
        fleet.apply(
            Changes(sequence=1, replicas=(replica,)), now=draw(st.sampled_from((0.0, 500.0, 900.0, NOW - 3)))
        )
    for node in there:
        busy = {r.id: draw(st.sampled_from((0, 0, 1, 3))) for r in fleet.replicas_on(node.id)}
        fleet.report(node.id, dict.fromkeys(busy, 9), draw(st.sampled_from((10.0, 800.0))))
        fleet.report(node.id, busy, draw(st.sampled_from((NOW, NOW, NOW, NOW - 99))))
        fleet.measure(node.id, _free(node, fleet.replicas_on(node.id)), fleet.replicas_on(node.id))
    return fleet


@st.composite
def _replicas(draw: st.DrawFn, node: Node, known: list[Model]) -> list[Replica]:
    """Replicas that fill a node's devices one after the other, as long as there is room."""
    made: list[Replica] = []
    free = {d.id: d.total_bytes for d in node.devices}
    for number in range(draw(st.integers(0, 4))):
        model = draw(st.sampled_from(known))
        device = draw(st.sampled_from(node.devices))
        size = draw(st.integers(1, 16)) * GIB
        index = sum(r.model == model.name for r in made)
        if index >= node.max_replicas_per_model or (device.total_bytes and size > free[device.id]):
            continue
        free[device.id] -= size
        state = draw(
            st.sampled_from((*(ReplicaState.READY,) * 4, ReplicaState.LOADING, ReplicaState.UNLOADING))
        )
        made.append(
            Replica(
                id=f"r-{node.name}{number}",
                model=model.name,
                index=index,
                revision=draw(st.sampled_from((model.revision,) * 4 + ("rev0",))),
                node_id=node.id,
                address="127.0.0.1:1",
                state=state,
                slot_count=4,
                memory_bytes=0 if state is ReplicaState.LOADING else size,
                shares=(Share(device.id, size),),
            )
        )
    return made


def _free(node: Node, replicas: list[Replica]) -> tuple[Device, ...]:
    held: dict[str, int] = {}
    for replica in replicas:
        for share in replica.shares:
            held[share.device_id] = held.get(share.device_id, 0) + min(share.size_bytes, replica.memory_bytes)
    return tuple(replace(d, free_bytes=max(0, d.total_bytes - held.get(d.id, 0))) for d in node.devices)
