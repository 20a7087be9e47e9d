"""What workers say about themselves, turned into fleet state.

Decisions are in `reconcile`, which is pure; `Registry` checks tokens and writes. A report can only end replicas of
the node that sends it, and only by no longer running them: nothing that a router knows or fails to know stops one.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import logging
import secrets
import socket
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from weft_common.clock import Clock
from weft_common.errors import FieldViolation, InvalidRequest, InvalidToken, NodeNotFound, PartUnavailable
from weft_proto.weft.node.v1 import HeartbeatRequest, RegisterNodeRequest
from weft_proto.weft.types.v1 import Replica as ReplicaMessage
from weft_proto.weft.types.v1 import ReplicaState as ReplicaStateMessage
from weft_router import convert
from weft_router.fleet.entities import Node, NodeState, Replica, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.lifecycle import NodeEvent, move_node
from weft_router.settings import RouterSettings
from weft_router.store.protocol import PlaceTaken, Store
from weft_router.sync import FleetSync

# A load under way on another router is not shown by its worker until the process has started.
_LOADING_GRACE_SECONDS = 75.0

_log = logging.getLogger(__name__)


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
    loading_here: frozenset[str],
    spare: frozenset[str],
) -> Reconciled:
    """Compare a node's rows with what its worker runs.

    `loading_here` are replicas that this router loads and whose rows only the load may touch; `spare` are rows too
    young to be missed.
    """
    rows = {r.id: r for r in known}
    running = {r.id: r for r in reported}
    missing = (r for r in rows.values() if r.id not in running and r.id not in loading_here | spare)
    alive = (r for r in running.values() if r.state in (ReplicaState.READY, ReplicaState.UNLOADING))
    return Reconciled(
        write=tuple(r for r in alive if r.id not in loading_here and _differs(rows.get(r.id), r)),
        gone=tuple(r.id for r in missing),
        stop=tuple(i for i in running if i in rows and rows[i].state is ReplicaState.UNLOADING),
    )


def _differs(row: Replica | None, report: Replica) -> bool:
    """Whether a report brings news that others need; measured memory alone is not."""
    if row is None or row.state is ReplicaState.LOADING:
        return report.state is ReplicaState.READY
    return row.address != report.address


class Registry:
    """Registration and heartbeats; state: `_first_seen`, a hint that heals."""

    def __init__(
        self, *, settings: RouterSettings, fleet: Fleet, store: Store, sync: FleetSync, clock: Clock
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._store = store
        self._sync = sync
        self._clock = clock
        self._first_seen: dict[str, float] = {}

    async def register(self, request: RegisterNodeRequest, token: str | None) -> tuple[Node, str]:
        """Add a node or bring it back; returns it with the token for its later calls."""
        self._check_registration_token(token)
        _check_description(request)
        address = await resolve(request.address)
        reported = [convert.replica(r, "") for r in request.replicas]
        await self._sync.refresh()
        node_token = secrets.token_urlsafe(32)
        node = self._described(request, address, node_token)
        await self._store.put_node(node)
        await self._settle([replace(r, node_id=node.id) for r in reported], node.id)
        self._hear(node.id)
        _log.info("node_registered", extra={"node": node.name, "state": node.state, "address": node.address})
        return node, node_token

    async def heartbeat(
        self, request: HeartbeatRequest, token: str | None, loading_here: frozenset[str]
    ) -> tuple[Node, tuple[str, ...]]:
        """Take a node's report; returns the node and the replicas that it must stop."""
        node = self._authenticated(request.id, token)
        self._hear(node.id)
        # A heartbeat is never refused for what it says of a replica: that would cost the node all of them.
        reported = [convert.replica(r, node.id) for r in request.replicas if not _replica_problems([r])]
        self._fleet.measure(node.id, convert.devices(request.devices), reported)
        plan = reconcile(
            self._fleet.replicas_on(node.id), reported, loading_here=loading_here, spare=self._young(node.id)
        )
        await self._carry_out(plan)
        return node, plan.stop

    def _check_registration_token(self, token: str | None) -> None:
        expected = self._settings.registration_token.get_secret_value()
        if token is None or not hmac.compare_digest(token.encode(), expected.encode()):
            raise InvalidToken("The registration token is wrong: pass the one in WEFT_HOME/join-token.")

    def _authenticated(self, node_id: str, token: str | None) -> Node:
        node = self._fleet.nodes.get(node_id)
        if node is None:
            if not self._sync.known.is_set():
                raise PartUnavailable(
                    "This router has not read the fleet yet: PostgreSQL cannot be reached.",
                    metadata={"part": "postgres"},
                )
            raise NodeNotFound(f"Node {node_id} is not registered: register again.")
        if token is None or not hmac.compare_digest(_digest(token), node.token_sha256):
            raise InvalidToken(
                "The node token is wrong or from before the last registration: register again."
            )
        return node

    def _described(self, request: RegisterNodeRequest, address: str, node_token: str) -> Node:
        known = self._fleet.node_named(request.name)
        approved = bool(
            (known and known.approved)
            or self._settings.auto_approve_nodes
            or (request.name == self._settings.local_node_name)
        )
        labels = {**request.labels, "node.name": request.name}
        return Node(
            id=known.id if known else f"n-{uuid.uuid4().hex[:12]}",
            name=request.name,
            state=_state_after_registration(known, approved),
            approved=approved,
            address=address,
            labels=labels,
            devices=convert.devices(request.devices),
            engines=tuple(request.engines),
            max_replicas_per_model=request.max_replicas_per_model or 1,
            token_sha256=_digest(node_token),
            generation=known.generation + 1 if known else 1,
            create_seconds=known.create_seconds if known else self._clock.wall(),
        )

    async def _settle(self, reported: list[Replica], node_id: str) -> None:
        """Adopt what a registering worker runs and forget what it no longer does."""
        await self._sync.after_write()
        known = self._fleet.replicas_on(node_id)
        await self._carry_out(reconcile(known, reported, loading_here=frozenset(), spare=frozenset()))

    async def _carry_out(self, plan: Reconciled) -> None:
        if not plan.write and not plan.gone:
            return
        for replica in plan.write:
            try:
                await self._store.put_replica(replica)
            except PlaceTaken:
                _log.warning("replica_without_place", extra={"replica": replica.id, "model": replica.model})
        if plan.gone:
            await self._store.remove_replicas(list(plan.gone))
            _log.info("replicas_gone", extra={"replicas": plan.gone})
        await self._sync.after_write()

    def _hear(self, node_id: str) -> None:
        self._fleet.hear(node_id, self._clock.monotonic())
        self._sync.heard(node_id)

    def _young(self, node_id: str) -> frozenset[str]:
        """Loading rows that another router may still be bringing up."""
        now = self._clock.monotonic()
        loading = [r.id for r in self._fleet.replicas_on(node_id) if r.state is ReplicaState.LOADING]
        self._first_seen = {i: t for i, t in self._first_seen.items() if i in self._fleet.replicas}
        for replica_id in loading:
            self._first_seen.setdefault(replica_id, now)
        return frozenset(i for i in loading if now - self._first_seen[i] < _LOADING_GRACE_SECONDS)


def _state_after_registration(known: Node | None, approved: bool) -> NodeState:
    if known is None:
        return NodeState.HEALTHY if approved else NodeState.PENDING
    state = move_node(known.state, NodeEvent.REGISTERED, f"{known.name} ({known.id})")
    if state is NodeState.PENDING and approved:
        return move_node(state, NodeEvent.APPROVED, f"{known.name} ({known.id})")
    return state


def _check_description(request: RegisterNodeRequest) -> None:
    problems: Mapping[str, str] = {
        "name": "" if 1 <= len(request.name) <= 255 else "1 to 255 characters are needed",
        "devices": "" if request.devices else "at least one device is needed",
        "engines": "" if request.engines else "at least one engine is needed",
    }
    problems = {**problems, **_replica_problems(request.replicas)}
    violations = [FieldViolation(field, problem) for field, problem in problems.items() if problem]
    if violations:
        raise InvalidRequest(f"{violations[0].field}: {violations[0].description}", violations=violations)


def _replica_problems(replicas: Iterable[ReplicaMessage]) -> dict[str, str]:
    return {
        f"replicas.{i}": "id, model, revision, address and state are needed"
        for i, r in enumerate(replicas)
        if not (r.id and r.model and r.revision and r.address) or not _is_state(r.state)
    }


def _is_state(state: ReplicaStateMessage) -> bool:
    return int(state) in {int(known) for known in ReplicaStateMessage} - {0}


async def resolve(address: str) -> str:
    """`host:port` with the host as an IP literal, since Envoy dials literals only; raises InvalidRequest."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        violation = FieldViolation("address", "host:port is needed")
        raise InvalidRequest(f"address: '{address}' is not of the form host:port", violations=[violation])
    try:
        return _literal(ipaddress.ip_address(host), port)
    except ValueError:
        pass
    return await _looked_up(host, port)


async def _looked_up(host: str, port: str) -> str:
    try:
        async with asyncio.timeout(2):
            found = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        violation = FieldViolation("address", "the host cannot be resolved")
        raise InvalidRequest(
            f"address: '{host}' cannot be resolved here: {error}", violations=[violation]
        ) from error
    return _literal(ipaddress.ip_address(found[0][4][0]), port)


def _literal(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: str) -> str:
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
