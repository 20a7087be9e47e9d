"""Threads that are told what they had; passes the suite of the real ones."""

from collections.abc import Collection, Iterable

from weft_worker.native_threads import Use


class FakeThreads:
    """State: what each had, where each is and may be, how often somebody asked, and how asking fails."""

    def __init__(self, anywhere: Collection[int], threads: Iterable[int] = ()) -> None:
        self._anywhere = frozenset(anywhere)
        self._uses: dict[int, Use] = {}
        self.places: dict[int, int] = {}
        self.allowed: dict[int, frozenset[int]] = {}
        self.asked_count = 0
        self.failure: OSError | None = None
        for thread in threads:
            self.begin(thread)

    def begin(self, thread: int) -> None:
        """Have one more."""
        self._uses[thread] = Use(0.0, 0.0, 0)
        self.places[thread] = min(self._anywhere)
        self.allowed[thread] = self._anywhere

    def run(self, thread: int, had: Use) -> None:
        """Let it have so much more."""
        use = self._uses[thread]
        self._uses[thread] = Use(
            use.ran_seconds + had.ran_seconds,
            use.waited_seconds + had.waited_seconds,
            use.turn_count + had.turn_count,
        )

    def end(self, thread: int) -> None:
        """Have one less."""
        for kept in (self._uses, self.places, self.allowed):
            kept.pop(thread)

    def uses(self) -> dict[int, Use]:
        """What each had."""
        self._ask()
        return dict(self._uses)

    def use(self, thread: int) -> Use:
        """What one had."""
        self._ask(thread)
        return self._uses[thread]

    def processor(self, thread: int) -> int:
        """Where it is."""
        self._ask(thread)
        return self.places[thread]

    def keep(self, threads: Iterable[int], processor: int | None) -> None:
        """Move them."""
        for thread in threads:
            self._require(thread)
            self.allowed[thread] = self._anywhere if processor is None else frozenset({processor})
            if self.places[thread] not in self.allowed[thread]:
                self.places[thread] = min(self.allowed[thread])

    def _ask(self, thread: int | None = None) -> None:
        self.asked_count += 1
        if self.failure is not None:
            raise self.failure
        if thread is not None:
            self._require(thread)

    def _require(self, thread: int) -> None:
        if thread not in self._uses:
            raise ProcessLookupError(3, "No such process")
