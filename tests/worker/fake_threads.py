"""Threads that are told what they had; passes the suite of the real ones."""

from collections.abc import Collection, Iterable

from weft_worker.native_threads import CpuUse


class FakeThreads:
    """State: what each had, where each is and may be, how often all were asked for, and how each call fails."""

    def __init__(self, anywhere: Collection[int], threads: Iterable[int] = ()) -> None:
        self._anywhere = frozenset(anywhere)
        self._uses: dict[int, CpuUse] = {}
        self.places: dict[int, int] = {}
        self.affinity: dict[int, frozenset[int]] = {}
        self.asked_count = 0
        self.failures: dict[str, Exception] = {}
        for thread in threads:
            self.begin(thread)

    def begin(self, thread: int) -> None:
        """Have one more."""
        self._uses[thread] = CpuUse(0.0, 0.0, 0)
        self.places[thread] = min(self._anywhere)
        self.affinity[thread] = self._anywhere

    def run(self, thread: int, had: CpuUse) -> None:
        """Let it have so much more."""
        use = self._uses[thread]
        self._uses[thread] = CpuUse(
            use.ran_seconds + had.ran_seconds,
            use.waited_seconds + had.waited_seconds,
            use.turn_count + had.turn_count,
        )

    def end(self, thread: int) -> None:
        """Have one less."""
        for kept in (self._uses, self.places, self.affinity):
            kept.pop(thread)

    def uses(self) -> dict[int, CpuUse]:
        """What each had."""
        self.asked_count += 1
        self._fail("uses")
        return dict(self._uses)

    def use(self, thread: int) -> CpuUse:
        """What one had."""
        self._fail("use")
        self._require(thread)
        return self._uses[thread]

    def processor(self, thread: int) -> int:
        """The place that it was given."""
        self._fail("processor")
        self._require(thread)
        return self.places[thread]

    def allowed(self, thread: int) -> frozenset[int]:
        """Its affinity."""
        self._require(thread)
        return self.affinity[thread]

    def allow(self, thread: int, processors: Collection[int]) -> None:
        """Set its affinity, and move it."""
        self._fail(f"allow {thread}")
        self._require(thread)
        self.affinity[thread] = frozenset(processors)
        if self.places[thread] not in processors:
            self.places[thread] = min(processors)

    def _fail(self, call: str) -> None:
        if call in self.failures:
            raise self.failures.pop(call)

    def _require(self, thread: int) -> None:
        if thread not in self._uses:
            raise ProcessLookupError(3, "No such process")
