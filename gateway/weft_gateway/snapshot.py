"""The gateway's view on disk, so that a restart with everything else down goes on serving what is warm.

The file is one WatchFleetResponse behind eight bytes: the moment of the last contact with a router, in milliseconds
since 1970. It holds no key and no secret; it is 0600 all the same, since addresses are nobody's business.
"""

import asyncio
import logging
import os
from datetime import timedelta
from pathlib import Path

from google.protobuf.message import DecodeError

from weft_common.clock import Clock
from weft_gateway.fleet_view import FleetView, Update

_LOOK_SECONDS = 1.0
# A view that does not change is written again at times, since its age counts from the last contact.
_TOUCH_SECONDS = 30.0
_TIME_BYTES = 8

_log = logging.getLogger(__name__)


class Snapshot:
    """Writes the view when it changed and reads it at the start; state: `_written`, how new what was written is."""

    def __init__(self, folder: Path, view: FleetView, clock: Clock, lifetime: timedelta) -> None:
        self._file = folder / "fleet.binpb"
        self._view = view
        self._clock = clock
        self._lifetime = lifetime.total_seconds()
        self._written: tuple[int, float] = (0, float("-inf"))

    def restore(self) -> bool:
        """Read the view; tells whether there was one that is young enough."""
        try:
            raw = self._file.read_bytes()
            contact = int.from_bytes(raw[:_TIME_BYTES], "big") / 1000
            update = Update.FromString(raw[_TIME_BYTES:])
        except FileNotFoundError:
            return False
        except (OSError, DecodeError) as error:
            _log.warning("snapshot_unreadable", extra={"error": type(error).__name__})
            return False
        age = self._clock.wall() - contact
        if not 0 <= age <= self._lifetime:
            return False
        self._view.apply(update)
        self._view.told = self._clock.monotonic() - age
        self._written = (self._view.sequence, self._view.told)
        self._view.expire_at(self._clock.monotonic() + self._lifetime - age)
        _log.info("snapshot_restored", extra={"sequence": update.sequence, "age_seconds": round(age, 1)})
        return True

    async def keep(self) -> None:
        """Write for ever whatever a router tells, or told last."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Write where something was told since the last time.

        Also once the router is gone: what it told last is what a restart needs then.
        """
        sequence, told = self._written
        if sequence != self._view.sequence or self._view.told - told > _TOUCH_SECONDS:
            self._write()

    def _write(self) -> None:
        update = self._view.everything()
        contact = self._clock.wall() - (self._clock.monotonic() - self._view.told)
        raw = int(max(0.0, contact) * 1000).to_bytes(_TIME_BYTES, "big") + update.SerializeToString()
        partial = self._file.with_suffix(".part")
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(raw)
            partial.replace(self._file)
        except OSError as error:
            _log.warning("snapshot_not_written", extra={"error": str(error)})
        self._written = (update.sequence, self._view.told)
