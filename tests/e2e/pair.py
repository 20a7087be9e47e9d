"""Two workers on one machine, and models that run on both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.e2e.crowd import Answer, ask_all, chat
from tests.e2e.reports import wait_until_told_idle
from tests.e2e.stack import Part, Stack, Worker, eventually
from tests.faults import ReplicaDoor

NODES = ("local", "two")
STURDY = "sturdy"
TIGHT = "tight"
SOLO = "solo"  # for one node
MODELS: Mapping[str, Mapping[str, int]] = {
    STURDY: {"parallel": 16, "max_queue": 400},
    TIGHT: {"parallel": 1, "max_queue": 0},
    SOLO: {"parallel": 1, "max_queue": 0},
}
# A tenth of the real ones; but an agent that is started again finds its replicas also where that takes a while.
SHORT_TIMERS: Mapping[str, str] = {
    "WEFT_HEARTBEAT_INTERVAL": "1s",
    "WEFT_LEASE": "3s",
    "WEFT_ORPHAN": "40s",
}

# Of models whose policy has a minimum or a maximum.
SCALING: Mapping[str, str] = {"WEFT_SCALE_UP_AFTER": "1s", "WEFT_SCALE_DOWN_AFTER": "2s"}


@dataclass
class Pair:
    """A stack with the workers `local`, which `weft up` restarts, and `two`, which nobody does."""

    stack: Stack
    two: Worker

    def ensure(self, model: str, *nodes: str) -> dict[str, Part]:
        """Have one replica of a model on each node, and requests served by all; returns them by node."""
        wanted = set(nodes or NODES)
        for node in wanted - self.replicas(model).keys():
            self.stack.load(model, node)
        eventually(lambda: self._serving(model) == wanted, what=f"{model} served by {wanted}")
        return self.replicas(model)

    def replicas(self, model: str) -> dict[str, Part]:
        """The running replicas of a model by node."""
        found = {part.name.removeprefix("replica:"): part for part in self.stack.parts("replica:")}
        return {
            name.partition("/")[0]: part
            for name, part in found.items()
            if name.partition("/")[2].startswith(f"{model}#")
        }

    def wait_until_full(self, *replicas: Part) -> None:
        """Wait until everybody has heard that the slots of these are taken; all hear it by the same report."""
        addresses = {replica.address for replica in replicas}

        def told() -> bool:
            with self.stack.client() as client:
                found = client.get("/api/nodes/models?page_size=1000").json()["replicas"]
            full = {r["address"] for r in found if r["in_flight_count"] >= r["slot_count"]}
            return addresses <= full

        eventually(told, what="full replicas in reports")

    def wait_until_told_busy(self, replica: Part, count: int) -> None:
        """Wait until everybody has heard that a replica works on so many requests."""

        def told() -> bool:
            with self.stack.client() as client:
                found = client.get("/api/nodes/models?page_size=1000").json()["replicas"]
            return any(r["address"] == replica.address and r["in_flight_count"] == count for r in found)

        eventually(told, what=f"{count} requests told")

    def wait_until_idle(self, *replicas: Part) -> None:
        """Wait until everybody has heard that these have no requests; all hear it by the same reports."""
        wait_until_told_idle(self.stack, *(replica.address for replica in replicas))

    def door(self, replica: Part) -> ReplicaDoor:
        """The way to one replica past everybody else."""
        return ReplicaDoor(self.stack.home, replica.address)

    def agent(self, node: str) -> Part:
        """A node's agent."""
        return self.stack.part(f"worker-{node}")

    def logged(self, answers: list[Answer]) -> list[dict[str, Any]]:
        """What Envoy's access log says of each answer."""
        ids = [answer.headers["x-request-id"] for answer in answers]

        def found() -> dict[str, dict[str, Any]]:
            records = {r.get("request_id"): r for r in self.stack.records("log/access.log")}
            return records if records.keys() >= set(ids) else {}

        records = eventually(found, what="answers in the access log", seconds=15)
        return [records[i] for i in ids]

    def attempts(self, answers: list[Answer]) -> list[int]:
        """How many replicas were asked for each answer."""
        return [int(record["attempts"]) for record in self.logged(answers)]

    def outcomes(self, node: str, answers: list[Answer]) -> set[str]:
        """How these requests ended at the replicas of a node, by their own logs."""
        ids = {answer.headers["x-request-id"] for answer in answers}
        ended = self.stack.records(f"worker/{node}/log/*.log", "request_ended")
        return {record["outcome"] for record in ended if record["request_id"] in ids}

    def _serving(self, model: str) -> set[str]:
        answers = [ask_all(self.stack, [chat(model, "tokens=1")])[0] for _ in range(4)]
        assert all(answer.ok for answer in answers), answers
        return {answer.headers["x-weft-node"] for answer in answers}
