"""Faults of single replicas, and a door to look at one without passing through anybody else."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from tests.faults.processes import Victim, kill, stopped
from weft_common.mesh_auth import mesh_metadata
from weft_common.ticket import Ticket, replica_name, sign
from weft_proto.pb.weft.backend.v1 import backend_service_pb2 as backend_pb
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as inference_pb

_CALL_SECONDS = 10.0
_TICKET_SECONDS = 3600.0


@dataclass(frozen=True)
class ReplicaDoor:
    """Calls a replica's own port with the secrets of its home."""

    home: Path
    address: str

    def status(self) -> backend_pb.GetStatusResponse:
        """What the replica counts itself."""
        with grpc.insecure_channel(self.address) as channel:
            call = channel.unary_unary(
                "/weft.backend.v1.BackendService/GetStatus",
                request_serializer=backend_pb.GetStatusRequest.SerializeToString,
                response_deserializer=backend_pb.GetStatusResponse.FromString,
            )
            answer: backend_pb.GetStatusResponse = call(
                backend_pb.GetStatusRequest(), timeout=_CALL_SECONDS, metadata=mesh_metadata(self._secret)
            )
            return answer

    def busy(self) -> tuple[int, int]:
        """How many requests hold a slot, and how many wait for one."""
        status = self.status()
        return status.in_flight_count, status.queued_count

    def occupy(self, channel: grpc.Channel, prompt: str) -> Any:
        """Begin a request that nobody but this replica knows of; cancelling what is returned ends it."""
        status = self.status()
        replica = status.replica
        name = replica_name(replica.model, replica.index, replica.revision, replica.id)
        ticket = Ticket("occupied", (name,), "faults", time.time() + _TICKET_SECONDS)
        call = channel.unary_stream(
            "/weft.inference.v1.InferenceService/Chat",
            request_serializer=inference_pb.ChatRequest.SerializeToString,
            response_deserializer=inference_pb.ChatResponse.FromString,
        )
        message = inference_pb.Message(role=inference_pb.ROLE_USER, content=prompt)
        return call(
            inference_pb.ChatRequest(model=replica.model, messages=[message]),
            metadata=(("x-weft-ticket", sign(ticket, self._secret)),),
        )

    @property
    def _secret(self) -> str:
        secret: str = json.loads((self.home / "secrets.json").read_text())["mesh_secret"]
        return secret


@contextlib.contextmanager
def filled(door: ReplicaDoor, slots: int | None = None) -> Iterator[None]:
    """Occupy slots of a replica, all by default, with requests of the paced engine that wait for ever."""
    slots = slots or door.status().replica.slot_count
    with contextlib.ExitStack() as undo:
        channel = undo.enter_context(grpc.insecure_channel(door.address))
        for _ in range(slots):
            undo.callback(door.occupy(channel, "gate_file=/nowhere/never").cancel)
        _until(lambda: door.busy()[0] >= slots, f"{slots} slots taken")
        yield
    _until(lambda: door.busy()[0] < slots, "slots free again")


@contextlib.contextmanager
def refused(replica: Victim, *, agent: Victim) -> Iterator[None]:
    """Close a replica's port without anybody being told: its process is gone and its agent cannot say so.

    When the block is left the agent goes on and reports the end; the next load brings a new replica.
    """
    with stopped(agent):
        kill(replica)
        _until(lambda: not _listens(replica.address), "port closed")
        yield


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def _until(seen: Any, what: str) -> None:
    deadline = time.monotonic() + _CALL_SECONDS
    while not seen():
        assert time.monotonic() < deadline, f"not within {_CALL_SECONDS} s: {what}"
        time.sleep(0.02)
