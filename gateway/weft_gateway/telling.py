"""Refusals of a gateway's own, as the journal is told of them; what routers refuse, they tell themselves."""

from weft_common.errors import WeftError
from weft_common.events import Journal
from weft_gateway.admission import Admission, Admitted
from weft_gateway.fleet_view import FleetView
from weft_gateway.slot import Ask
from weft_proto.weft.types.v1 import EventKind


class TellingAdmission:
    """Admits as what it wraps, and tells where no router could be asked."""

    def __init__(self, admission: Admission, view: FleetView, journal: Journal) -> None:
        self._admission = admission
        self._view = view
        self._journal = journal

    async def admit(self, ask: Ask) -> Admitted:
        """As Admission does."""
        try:
            return await self._admission.admit(ask)
        except WeftError as error:
            if error.metadata.get("part") == "router":
                # A name that nobody has looked up is a caller's words, and not to be kept.
                model = ask.model if ask.model in self._view.models else ""
                self._journal.tell_counted(
                    EventKind.REFUSAL, "refused", error.message, reason=error.reason, model=model
                )
            raise
