"""Who waits for slots, for admins: at all routers, which tell each other over the bus."""

import asyncio
import logging
from collections.abc import Mapping

from google.protobuf.message import DecodeError

from weft_common.bus import Bus
from weft_common.clock import Clock
from weft_common.errors import WeftError
from weft_common.waiting_view import WaitingView
from weft_proto.pb.weft.scheduling.v1 import scheduling_service_pb2 as pb
from weft_router.slots.queue_lists import counted, merged, queue_pb
from weft_router.slots.slots import Slots

_ASK_SECONDS = 1.0
# NATS takes a megabyte; of more than this the counts alone are told.
_MOST_BYTES = 700_000

_log = logging.getLogger(__name__)


class QueueBoard:
    """ListQueues of weft.scheduling.v1.SchedulingService, on upb classes since principals may be many."""

    def __init__(self, *, slots: Slots, bus: Bus, waiting: WaitingView, clock: Clock) -> None:
        self._slots = slots
        self._bus = bus
        self._waiting = waiting
        self._clock = clock

    async def list_queues(self, request: pb.ListQueuesRequest) -> pb.ListQueuesResponse:
        others = {} if request.local_only else dict(self._waiting.routers())
        others.pop(self._slots.router_id, None)
        told = await asyncio.gather(*(self._at(router, counts) for router, counts in others.items()))
        return pb.ListQueuesResponse(queues=merged([self._own(), *told]))

    async def answer(self) -> None:
        """Tell other routers for ever."""
        async with self._bus.respond(_subject(self._slots.router_id), self._tell):
            await asyncio.Event().wait()

    def _own(self) -> list[pb.Queue]:
        now = self._clock.monotonic()
        return [queue_pb(*queue, now) for queue in self._slots.queues()]

    async def _at(self, router: str, counts: Mapping[str, int]) -> list[pb.Queue]:
        """The queues of another router; where it does not answer, what it told last."""
        try:
            raw = await self._bus.request(_subject(router), b"", _ASK_SECONDS)
            return list(pb.ListQueuesResponse.FromString(raw).queues)
        except (WeftError, TimeoutError, DecodeError) as error:
            _log.debug("queues_not_told", extra={"router": router, "error": str(error)})
            return counted(counts)

    async def _tell(self, payload: bytes) -> bytes:
        answer = pb.ListQueuesResponse(queues=self._own())
        if answer.ByteSize() > _MOST_BYTES:
            for queue in answer.queues:
                queue.ClearField("principals")
        return answer.SerializeToString()


def _subject(router: str) -> str:
    return f"weft.queues.{router}"
