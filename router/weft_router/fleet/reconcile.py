"""What a worker's report changes in the fleet: only what it says of its own replicas.

Nothing that a router knows, or fails to know, ends a replica here: a row goes because its worker no longer runs it, and
a worker stops only what somebody asked to unload, or what never became a replica and has no load any more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from weft_router.fleet.entities import Replica, ReplicaState


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a report changes: rows to write, rows that are gone, and what the worker must stop."""

    write: tuple[Replica, ...] = ()
    gone: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()


def reconcile(
    known: Iterable[Replica],
    reported: Iterable[Replica],
    *,
    loading: frozenset[str],
    young: frozenset[str] = frozenset(),
    abandoned: frozenset[str] = frozenset(),
) -> Reconciled:
    """Compare a node's rows with what its worker runs.

    Rows of replicas that are `loading` are for their load alone to touch; `young` ones may be younger than the report.
    `abandoned` are processes in which nobody has been loading a model for long: what a load that failed left behind.
    """
    rows = {r.id: r for r in known}
    said = {r.id: r for r in reported}
    ended = {i for i, r in said.items() if r.state is ReplicaState.FAILED}
    running = {i: r for i, r in said.items() if i not in ended}
    return Reconciled(
        write=tuple(
            merged
            for i, r in running.items()
            if i not in loading and (merged := _merged(rows.get(i), r)) not in (None, rows.get(i))
        ),
        gone=tuple(
            i for i in rows if i not in running and i not in loading and (i in ended or i not in young)
        ),
        stop=tuple(
            i
            for i, r in running.items()
            if (i in rows and rows[i].state is ReplicaState.UNLOADING) or _is_abandoned(r, rows, abandoned)
        ),
    )


def _is_abandoned(report: Replica, rows: Mapping[str, Replica], abandoned: frozenset[str]) -> bool:
    return report.state is ReplicaState.LOADING and report.id in abandoned and report.id not in rows


def _merged(row: Replica | None, report: Replica) -> Replica | None:
    """The row as it is to be written; measured memory alone is no news that others need."""
    if row is None:
        return report if report.state in (ReplicaState.READY, ReplicaState.UNLOADING) else None
    if row.state is ReplicaState.LOADING and report.state is ReplicaState.READY:
        return replace(
            row,
            state=ReplicaState.READY,
            address=report.address,
            slot_count=report.slot_count,
            max_queue_count=report.max_queue_count,
            memory_bytes=report.memory_bytes,
            pid=report.pid,
            begun=True,
            problem=report.problem,
        )
    if row.state is ReplicaState.LOADING:
        return row
    if row.state is ReplicaState.READY and report.state is ReplicaState.UNLOADING:
        # Its worker ends it, or it ends itself; no process ever comes back from that.
        row = replace(row, state=ReplicaState.UNLOADING)
    return replace(row, address=report.address, problem=report.problem)
