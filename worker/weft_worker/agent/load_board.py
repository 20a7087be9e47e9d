"""What the node's next load report says. Pure: the caller says what time it is and does the sending.

Backends tell their load on change and every second unchanged, and the board passes on what it was told. So a
replica that hangs falls silent in the reports too: the agent never vouches for one that it has not heard. It reports
every second whatever was told, so that a replica's silence is told from that of the bus, and more often while any is
busy, so that the silence of the bus is told soon from that of replicas that are long at their work.
"""

from collections.abc import Sequence

from weft_common.report_flow import BUSY_REPEAT_SECONDS
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_worker.backend.lease import Load, Work

COALESCE_SECONDS = 0.02
REPEAT_SECONDS = 1.0
MAX_GONE = 64


class LoadBoard:
    """Collects loads between reports.

    State: `_told` and `_gone` since then, `_sequence`, `_sent_at`, and `_busy`, replicas that last had requests.
    """

    def __init__(self, agent_id: str) -> None:
        self._agent_id = agent_id
        self._told: dict[str, Load] = {}
        self._gone: list[str] = []
        self._busy: set[str] = set()
        self._sequence = 0
        self._sent_at = float("-inf")

    def tell(self, replica_id: str, load: Load) -> None:
        """Take a backend's word."""
        self._told[replica_id] = load
        if load.in_flight or load.queued:
            self._busy.add(replica_id)
        else:
            self._busy.discard(replica_id)

    def forget(self, replica_id: str) -> None:
        """Note that a replica's process ended."""
        self._told.pop(replica_id, None)
        self._busy.discard(replica_id)
        self._gone = [*self._gone, replica_id][-MAX_GONE:]

    def wait_seconds(self, now: float) -> float:
        """Say how long the next report must still wait."""
        distance = BUSY_REPEAT_SECONDS if self._busy else REPEAT_SECONDS
        if self._told or self._gone:
            distance = COALESCE_SECONDS
        return max(0.0, self._sent_at + distance - now)

    def compose(
        self, node_id: str, now: float, *, full: Sequence[reports_pb2.FullDevice] = ()
    ) -> reports_pb2.LoadReport:
        """Write the next report and begin to collect for the one after it; see its `full_devices`."""
        self._sequence += 1
        self._sent_at = now
        report = reports_pb2.LoadReport(
            node_id=node_id,
            sequence=self._sequence,
            agent_id=self._agent_id,
            replicas=[_replica_load(replica_id, load) for replica_id, load in self._told.items()],
            gone_replica_ids=self._gone,
            full_devices=full,
        )
        self._told, self._gone = {}, []
        return report

    def undelivered(self, report: reports_pb2.LoadReport) -> None:
        """Take back a report that could not be sent: loads are told again soon, what is gone is not."""
        self._gone = [*report.gone_replica_ids, *self._gone][-MAX_GONE:]


def _replica_load(replica_id: str, load: Load) -> reports_pb2.ReplicaLoad:
    picks = [
        reports_pb2.SeenPicks(gateway_id=seen.gateway_id, contiguous=seen.contiguous, beyond=seen.beyond)
        for seen in load.picks
    ]
    told = reports_pb2.ReplicaLoad(
        replica_id=replica_id,
        in_flight_count=load.in_flight,
        queued_count=load.queued,
        picks=picks,
        works=[_principal_work(work) for work in load.works],
        started_count=load.started,
    )
    if load.keep_alive_seconds is not None:
        told.keep_alive.FromMicroseconds(int(load.keep_alive_seconds * 1e6))
    if load.stalled_seconds is not None:
        told.stalled.FromMilliseconds(int(load.stalled_seconds * 1000))
    return told


def _principal_work(work: Work) -> reports_pb2.PrincipalWork:
    return reports_pb2.PrincipalWork(
        principal=work.principal,
        generated_token_count=work.generated,
        prompt_token_count=work.prompt,
        finished_count=work.finished,
        slot_ms=work.slot_ms,
        in_flight_count=work.here,
        running_token_count=work.running,
    )
