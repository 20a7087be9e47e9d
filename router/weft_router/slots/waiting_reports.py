"""Tells gateways which models somebody waits for here, so that nobody passes the queue."""

import asyncio
import contextlib

from weft_common.bus import Bus
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_router.pulse import Pulse
from weft_router.slots.slots import Slots

_COALESCE_SECONDS = 0.05
_REPEAT_SECONDS = 1.0
_STIR_SECONDS = 0.2


async def tell_waiting(bus: Bus, slots: Slots) -> None:
    """Report for ever: on change, every second while anybody waits, and once when nobody does any more."""
    subject = f"weft.waiting.{slots.router_id}"
    told: dict[str, int] = {}
    while True:
        # No deadline where nobody waits: there is nothing to tell until somebody does.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REPEAT_SECONDS if told else None):
                await slots.changed.wait()
        slots.changed.clear()
        waiting = slots.waiting()
        if waiting or told:
            report = reports_pb2.WaitingReport(router_id=slots.router_id)
            for model, count in waiting.items():
                report.queues.add(model=model, waiting_count=count)
            await bus.publish(subject, report.SerializeToString())
        told = waiting
        await asyncio.sleep(_COALESCE_SECONDS)


async def stir_slots(pulse: Pulse, slots: Slots) -> None:
    """Have slots look at the fleet whenever it has changed, and now and then while reports fail to come."""
    while True:
        await pulse.wait(_STIR_SECONDS)
        slots.stir()
