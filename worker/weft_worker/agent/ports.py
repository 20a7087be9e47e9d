"""Which port the next backend process listens on. Pure: the caller says what time it is and which ports are free."""

from collections.abc import Callable

REST_SECONDS = 15.0
_LAST = 65535


class PortsExhausted(Exception):
    """Every port that replicas may use is held, resting or taken by somebody else."""


class Ports:
    """Hands out the ports from `first` upwards. State: `_held`, and `_released` with the time of each release.

    A released port rests, so that a request on its way to the old process meets a closed port rather than a stranger.
    With `first` = 0 the kernel draws ports (0 is handed out any number of times).
    """

    def __init__(self, first: int, *, rest_seconds: float = REST_SECONDS) -> None:
        self._first = first
        self._rest_seconds = rest_seconds
        self._held: set[int] = set()
        self._released: dict[int, float] = {}

    def acquire(self, now: float, is_free: Callable[[int], bool]) -> int:
        """Hold the lowest port that is free and rested."""
        if self._first == 0:
            return 0
        self._forget_rested(now)
        for port in range(self._first, _LAST + 1):
            if port not in self._held and port not in self._released and is_free(port):
                self._held.add(port)
                return port
        raise PortsExhausted(f"no port from {self._first} upwards is free")

    def hold(self, port: int) -> None:
        """Note a port that an adopted process listens on."""
        self._released.pop(port, None)
        self._held.add(port)

    def release(self, port: int, now: float) -> None:
        """Let a port rest and then be used again; a port that was not held changes nothing."""
        if port in self._held:
            self._held.remove(port)
            self._released[port] = now

    def _forget_rested(self, now: float) -> None:
        rested = [port for port, since in self._released.items() if now - since >= self._rest_seconds]
        for port in rested:
            del self._released[port]
