"""The language of scenarios: a line is an order to the stage, and `>` lines are what comes of it.

node NAME GIB[xCOUNT] [label=value ...] [slots=N] [places=N] [disk=GIB] [used=GIB] [state=pending]
model NAME GIB [slots=N] [devices=N] [groups=a,b] [pinned] [spills]       again: a new revision
policy MODEL [min=N] [max=N] [spread] [label=value ...]
rules [residency=S] [patience=S] [force]
request MODEL [waited=S] [within=S] [disk=GIB] [another]                  decide, and begin what was decided
loaded MODEL on NODE · ended MODEL on NODE · busy MODEL on NODE N · heartbeat NODE · restart
mute NODE · speak NODE
pick MODEL N                                                              N requests, one after the other
wait S · silent NODE S · register|approve|drain|resume|leave NODE · empty NODE after S
scale MODEL [for S] · explain MODEL
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.scenarios.stage import GIB, Stage
from weft_router.fleet.drain import drain_step
from weft_router.fleet.entities import Node, Replica
from weft_router.fleet.lifecycle import ImpossibleMove
from weft_router.fleet.node_life import (
    HealthLimits,
    aged,
    approved,
    drained,
    left,
    resumed,
    state_at_registration,
)
from weft_router.fleet.policy import Policy
from weft_router.fleet.scaling import Grow, Remembered, ScalingRules, Shrink, next_step
from weft_router.placement.decision import Decision, Evict, Join, Placed, Refuse, Serve, Wait
from weft_router.placement.explain import explain

_LIMITS = HealthLimits()
_SCALING = ScalingRules()
_BREAK_SECONDS = 300.0


def replay(text: str) -> str:
    """The script with what comes of it now in place of what came of it when it was written."""
    stage, lines = Stage(), []
    for line in text.splitlines():
        if line.startswith(">"):
            continue
        lines.append(line)
        if line and not line.startswith("#"):
            lines += [f"> {answer}" for answer in _obey(stage, line.split())]
    return "\n".join(lines) + "\n"


def _obey(stage: Stage, words: list[str]) -> Iterator[str]:
    order = _ORDERS[words[0]]
    stage.listen()
    yield from order(stage, words[1:])


def _fields(words: list[str]) -> dict[str, str]:
    return {key: value for key, _, value in (w.partition("=") for w in words)}


def _node(stage: Stage, words: list[str]) -> Iterator[str]:
    size, _, count = words[1].partition("x")
    stage.add_node(words[0], float(size), int(count or 1), _fields(words[2:]))
    yield from ()


def _model(stage: Stage, words: list[str]) -> Iterator[str]:
    stage.add_model(words[0], float(words[1]), _fields(words[2:]))
    yield from ()


def _policy(stage: Stage, words: list[str]) -> Iterator[str]:
    fields = _fields(words[1:])
    least, most = int(fields.pop("min", "0")), int(fields.pop("max", "0"))
    everywhere = fields.pop("spread", None) is not None
    stage.write(Policy(words[0], fields, least, most, everywhere))
    yield from ()


def _rules(stage: Stage, words: list[str]) -> Iterator[str]:
    fields = _fields(words)
    seconds = {f"{k}_seconds": float(v) for k, v in fields.items() if v}
    stage.rules = replace(stage.rules, force="force" in fields, **seconds)
    yield from ()


def _request(stage: Stage, words: list[str]) -> Iterator[str]:
    fields = _fields(words[1:])
    wish = stage.request(
        words[0],
        another="another" in fields,
        since=stage.now - float(fields.get("waited", "0")),
        deadline=stage.now + float(fields.get("within", "60")),
        disk_bytes=int(float(fields.get("disk", "0")) * GIB),
    )
    yield _told(stage.decide(wish), stage)


def _told(decision: Decision, stage: Stage) -> str:
    match decision:
        case Serve(replicas=replicas):
            return f"serve by {', '.join(_name(r) for r in replicas)}"
        case Join(replica=replica):
            return f"join the load of {_name(replica)}"
        case Placed():
            return f"place on {decision.node.name}{_shares(decision)}{_excluded(decision)}"
        case Evict(victims=victims):
            verb = "close" if decision.drains else "cut" if decision.forced else "evict"
            gone = f"{verb} {', '.join(_name(v) for v in victims)}" if victims else "wait for what leaves"
            return f"{gone}, then place on {decision.node.name}{_shares(decision)}"
        case Wait(reason=reason, until=until):
            return f"wait: {reason}" + (f", until {until:.0f} s" if until is not None else "")
        case Refuse():
            return f"refuse: {decision.reason}; again in {decision.retry_after_seconds:.0f} s"


def _shares(decision: Placed | Evict) -> str:
    return "".join(f", {s.size_bytes / GIB:.1f} GiB of {s.device_id}" for s in decision.shares)


def _excluded(decision: Placed) -> str:
    counts = decision.explanation.counts
    return f" ({', '.join(f'{n} {why}' for why, n in counts.items())})" if counts else ""


def _name(replica: Replica) -> str:
    return f"{replica.model}#{replica.index} on {replica.node_id}"


def _loaded(stage: Stage, words: list[str]) -> Iterator[str]:
    stage.loaded(stage.find(words[0], words[2]))
    yield f"{words[0]} on {words[2]} is {stage.find(words[0], words[2]).state}"


def _ended(stage: Stage, words: list[str]) -> Iterator[str]:
    for row in stage.ended(stage.find(words[0], words[2])):
        yield f"the load of {_name(row)} begins"


def _busy(stage: Stage, words: list[str]) -> Iterator[str]:
    stage.busy[stage.find(words[0], words[2]).id] = int(words[3])
    stage.listen()
    yield from ()


def _heartbeat(stage: Stage, words: list[str]) -> Iterator[str]:
    stage.heartbeat(words[0])
    rooms = stage.fleet.snapshot().by_id[words[0]].rooms
    yield ", ".join(f"{r.device_id} has {r.spare_bytes / GIB:.1f} GiB to spare" for r in rooms)


def _mute(stage: Stage, words: list[str]) -> Iterator[str]:
    stage.mute.add(words[0])
    yield from ()


def _speak(stage: Stage, words: list[str]) -> Iterator[str]:
    stage.mute.discard(words[0])
    yield from ()


def _restart(stage: Stage, words: list[str]) -> Iterator[str]:
    stage.restart()
    yield from ()


def _wait(stage: Stage, words: list[str]) -> Iterator[str]:
    stage.now += float(words[0])
    yield from ()


def _pick(stage: Stage, words: list[str]) -> Iterator[str]:
    picked = []
    for _ in range(int(words[1])):
        stage.now += 1
        picked.append(stage.pick(words[0], "gateway") or "nobody")
    yield " ".join(picked)


def _life(change: Callable[[Stage, Node], Node]) -> Callable[[Stage, list[str]], Iterator[str]]:
    def order(stage: Stage, words: list[str]) -> Iterator[str]:
        node = stage.fleet.nodes[words[0]]
        if len(words) > 1:
            stage.now += float(words[1])
        try:
            stage.write(change(stage, node))
        except ImpossibleMove as move:
            yield str(move).partition(":")[0]
        yield f"{words[0]} is {stage.fleet.nodes[words[0]].state}"

    return order


def _age(stage: Stage, node: Node) -> float:
    return stage.now - stage.fleet.heard[node.id]


def _registered(stage: Stage, node: Node) -> Node:
    stage.fleet.hear(node.id, stage.now)
    state = state_at_registration(node, approved=node.approved)
    return replace(node, state=state, generation=node.generation + 1)


def _empty(stage: Stage, words: list[str]) -> Iterator[str]:
    """What a drain does next."""
    late = stage.now + float(words[2])
    step = drain_step(stage.fleet.snapshot().by_id[words[0]], now=late, deadline=30.0)
    yield from (f"unload {_name(r)}" for r in step.unload)
    yield from (f"stop {_name(r)} by force" for r in step.force)
    stage.write(*(stage.unloading(r) for r in (*step.unload, *step.force)))
    if step.done:
        yield f"{words[0]} is empty"


def _scale(stage: Stage, words: list[str]) -> Iterator[str]:
    """Look once a second, as the loop does; what cannot be had is not asked for again for five minutes."""
    model, seconds = words[0], int(words[2]) if len(words) > 1 else 1
    remembered, blocked_until = Remembered(), float("-inf")
    for _ in range(seconds):
        stage.listen()
        step, remembered = next_step(model, stage.fleet.snapshot(), remembered, now=stage.now, rules=_SCALING)
        match step:
            case Grow() if stage.now >= blocked_until:
                wish = stage.request(model, another=True, may_evict=step.may_evict, node_id=step.node_id)
                decision = stage.decide(wish)
                yield f"{stage.now:.0f} s: {step.reason}: {_told(decision, stage)}"
                if not isinstance(decision, Placed | Evict):
                    blocked_until = stage.now + _BREAK_SECONDS
            case Shrink(replica=replica, reason=reason):
                yield f"{stage.now:.0f} s: {reason}: unload {_name(replica)}"
                stage.write(stage.unloading(replica))
        stage.now += 1


def _explain(stage: Stage, words: list[str]) -> Iterator[str]:
    table = explain(stage.request(words[0]), stage.fleet.snapshot(), now=stage.now, rules=stage.rules)
    yield _told(table.decision, stage)
    for row in table.rows:
        kept = "".join(f"; {replica} {why}" for replica, why in row.kept.items())
        yield f"  {row.node}: {row.reason or 'comes into question'}{kept}"


_ORDERS: dict[str, Callable[[Stage, list[str]], Iterator[str]]] = {
    "node": _node,
    "model": _model,
    "policy": _policy,
    "rules": _rules,
    "request": _request,
    "loaded": _loaded,
    "ended": _ended,
    "busy": _busy,
    "heartbeat": _heartbeat,
    "mute": _mute,
    "speak": _speak,
    "restart": _restart,
    "wait": _wait,
    "pick": _pick,
    "silent": _life(lambda stage, node: aged(node, _age(stage, node), _LIMITS)),
    "register": _life(_registered),
    "approve": _life(lambda stage, node: approved(node, _age(stage, node), _LIMITS)),
    "drain": _life(lambda stage, node: drained(node, by_itself=False)),
    "resume": _life(lambda stage, node: resumed(node, _age(stage, node), _LIMITS)),
    "leave": _life(lambda stage, node: left(node)),
    "empty": _empty,
    "scale": _scale,
    "explain": _explain,
}
