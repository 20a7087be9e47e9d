"""Keeps one thing that breaks from ending a loop that all others depend on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)


class Guard:
    """Passes over what breaks, and tells of it once and not at each turn; state: `_broken`, what broke last time."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._broken: set[str] = set()

    @contextmanager
    def over(self, what: str) -> Iterator[None]:
        """Do what is inside, or as much of it as can be done."""
        try:
            yield
        except Exception:  # noqa: BLE001 (outermost edge: others are not to blame, and the next leader would break too)
            if what not in self._broken:
                _log.exception(self._event, extra={"what": what})
            self._broken.add(what)
        else:
            self._broken.discard(what)
