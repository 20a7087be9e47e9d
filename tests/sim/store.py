"""The database of a simulated world: rows, one sequence, and writes that are refused where their basis has moved."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from weft_router.fleet.entities import Changes, Model, Node, Replica
from weft_router.fleet.lease import Fence, LeaseRow, next_epoch
from weft_router.fleet.policy import Policy


class Stale(Exception):
    """What the writer decided on has changed since: read, and decide again."""


class Refused(Stale):
    """Another router leads by now."""


class Down(Exception):
    """The database cannot be reached."""


@dataclass(slots=True)
class Job:
    """A load as everybody sees it: who has it in hand, and when that one was last seen at it.

    `wish` is the model where requests share the load, and unique for one that policies ask for.
    """

    replica_id: str
    model: str
    node_id: str
    wish: str
    owner: str
    beat: float


@dataclass(slots=True)
class Failure:
    """A load that failed, kept for those who still wait for it."""

    time: float
    cause: str


@dataclass(slots=True)
class Store:
    """Durable state; `down` makes every call fail. `_log` has what was written at each sequence.

    `late` has the effects of earlier terms that landed all the same, which must never happen; `fencing` may be off to
    see that it would.
    """

    down: bool = False
    nodes: dict[str, Node] = field(default_factory=dict)
    replicas: dict[str, Replica] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    # Replicas whose rows went: an identity never comes back, whatever a late heartbeat says.
    removed: set[str] = field(default_factory=set)
    lease: LeaseRow | None = None
    fencing: bool = True
    late: list[Fence] = field(default_factory=list)
    _lease_end: float = 0.0
    _log: list[tuple[str, str]] = field(default_factory=list)
    _places: dict[tuple[str, str, int], str] = field(default_factory=dict)
    # When something about a node, or about a model's replicas, was last written.
    _moved: dict[str, int] = field(default_factory=dict)

    @property
    def sequence(self) -> int:
        """The number of the newest write."""
        return len(self._log)

    def reach(self) -> None:
        """Raise Down while the database is."""
        if self.down:
            raise Down

    def changes(self, after: int) -> Changes:
        """Everything above a sequence, once, in order of its first change."""
        self.reach()
        touched = dict.fromkeys(self._log[after:])
        ids = {kind: [i for k, i in touched if k == kind] for kind in ("node", "replica", "model", "policy")}
        return Changes(
            sequence=self.sequence,
            nodes=tuple(self.nodes[i] for i in ids["node"]),
            replicas=tuple(self.replicas[i] for i in ids["replica"] if i in self.replicas),
            models=tuple(self.models[i] for i in ids["model"]),
            policies=tuple(self.policies[i] for i in ids["policy"]),
            gone_replicas=tuple(i for i in ids["replica"] if i not in self.replicas),
        )

    def put_node(self, node: Node, basis: int, fence: Fence | None = None) -> None:
        """Write a node unless it changed after `basis`."""
        self._require(fence)
        self._expect(basis, [f"node {node.id}"])
        self.nodes[node.id] = node
        self._write("node", node.id, f"node {node.id}")

    def put_model(self, model: Model) -> None:
        """Write a model."""
        self.reach()
        self.models[model.name] = model
        self._write("model", model.name)

    def put_policy(self, policy: Policy) -> None:
        """Write a policy; whoever decided on the one before must decide again."""
        self.reach()
        self.policies[policy.model] = policy
        self._write("policy", policy.model, f"model {policy.model}")

    def put_replicas(
        self, replicas: Iterable[Replica], basis: int, job: Job | None = None, fence: Fence | None = None
    ) -> None:
        """Write replicas together, unless one of their nodes or models has moved after `basis`."""
        self._require(fence)
        rows = list(replicas)
        nodes = dict.fromkeys(f"node {r.node_id}" for r in rows)
        self._expect(basis, [*nodes, *dict.fromkeys(f"model {r.model}" for r in rows)])
        if job is not None and any(j.wish == job.wish for j in self.jobs.values()):
            raise Stale(f"{job.wish} is being loaded")
        for row in rows:
            if self._places.get(_place(row), row.id) != row.id:
                raise Stale(f"the place of {row.id} is taken")
        for row in rows:
            self.replicas[row.id] = row
            self._places[_place(row)] = row.id
            self._write("replica", row.id, f"node {row.node_id}", f"model {row.model}")
        if job is not None:
            self.jobs[job.replica_id] = job

    def remove(self, replica_id: str) -> None:
        """Forget a replica and its load."""
        self.reach()
        self.jobs.pop(replica_id, None)
        row = self.replicas.pop(replica_id, None)
        if row is not None:
            self.removed.add(replica_id)
            del self._places[_place(row)]
            self._write("replica", replica_id, f"node {row.node_id}", f"model {row.model}")

    def beat(self, replica_id: str, owner: str, now: float) -> bool:
        """Say that a load is in hand; tells whether it still is this owner's."""
        self.reach()
        job = self.jobs.get(replica_id)
        if job is None or job.owner != owner:
            return False
        self.jobs[replica_id] = replace(job, beat=now)
        return True

    def take_over(self, owner: str, now: float, orphaned_seconds: float) -> list[Job]:
        """Give an owner every load that nobody was seen at for so long."""
        self.reach()
        orphans = [j for j in self.jobs.values() if now - j.beat > orphaned_seconds]
        taken = [replace(j, owner=owner, beat=now) for j in orphans]
        self.jobs.update((j.replica_id, j) for j in taken)
        return taken

    def lead(self, who: str, now: float, seconds: float) -> Fence | None:
        """Take or keep the lease of the loops; by the database's own clock."""
        self.reach()
        known = self.lease and replace(self.lease, remaining_seconds=max(self._lease_end - now, 0.0))
        epoch = next_epoch(known, who)
        if epoch is None:
            return None
        self.lease = LeaseRow("loops", who, epoch, seconds, known.refused_count if known else 0)
        self._lease_end = now + seconds
        return self.lease.fence

    def _require(self, fence: Fence | None) -> None:
        """Refuse what a former leader does, and count that."""
        self.reach()
        if fence is None or self.lease is None or fence == self.lease.fence:
            return
        if self.fencing:
            self.lease = replace(self.lease, refused_count=self.lease.refused_count + 1)
            raise Refused(f"{self.lease.holder} leads by now")
        self.late.append(fence)

    def _expect(self, basis: int, keys: Iterable[str]) -> None:
        self.reach()
        for key in keys:
            if self._moved.get(key, 0) > basis:
                raise Stale(f"{key} moved after {basis}")

    def _write(self, kind: str, identity: str, *keys: str) -> None:
        self._log.append((kind, identity))
        for key in keys:
            self._moved[key] = self.sequence


def _place(row: Replica) -> tuple[str, str, int]:
    return row.node_id, row.model, row.index
