"""What a handler may know and say about the call that it serves, besides the messages."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from weft_common.errors import WeftError


class CallContext:
    """One call, seen from its handler; state: the metadata that goes out, whether the first has gone, and `cut_by`."""

    def __init__(
        self,
        metadata: Mapping[str, str] | None = None,
        *,
        peer: str = "",
        time_remaining: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.peer = peer
        self._time_remaining = time_remaining
        self._initial: dict[str, str] = {}
        self._initial_taken = False
        self._trailing: list[tuple[str, str]] = []
        # Why the handler cancels its own task; without it a cancelled call is one whose caller has left.
        self.cut_by: WeftError | None = None

    def deadline_seconds(self) -> float | None:
        """Seconds that the caller still waits; None where it waits for ever."""
        return self._time_remaining()

    def set_initial_metadata(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Add metadata that goes out with the first message, and not at all where an error comes before it.

        A key given again replaces its value. Envoy can still turn to another replica until it is sent.
        """
        if self._initial_taken:
            raise RuntimeError("Initial metadata is set before the first message, never after it.")
        self._initial.update(pairs)

    def add_trailing_metadata(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Add metadata that goes out with the status, whether success or error."""
        self._trailing.extend(pairs)

    def take_initial(self) -> tuple[tuple[str, str], ...]:
        """Hand over the initial metadata, once; the adapter calls this when the first message is due."""
        pairs = () if self._initial_taken else tuple(self._initial.items())
        self._initial_taken = True
        return pairs

    def trailing(self) -> tuple[tuple[str, str], ...]:
        """Everything added for the end of the call."""
        return tuple(self._trailing)


_current: ContextVar[CallContext] = ContextVar("current_call")


def current_call() -> CallContext:
    """Find the call that this code serves; LookupError outside of a handler."""
    return _current.get()


@contextmanager
def call_scope(call: CallContext) -> Iterator[CallContext]:
    """Make `call` the current one inside the block; for the adapter, and to test handlers without a server."""
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)
