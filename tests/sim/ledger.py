"""What happened in a world, counted; and the error that ends it when something happened that must never."""

from collections import Counter
from dataclasses import dataclass, field


class Broken(AssertionError):
    """A rule did not hold; the message has the seed, the moment and what was wrong."""


@dataclass(slots=True)
class Ledger:
    """Counts by kind; state: `counts`."""

    seed: int
    counts: Counter[str] = field(default_factory=Counter)

    def note(self, kind: str, count: int = 1) -> None:
        """Count one more of a kind, or so many."""
        self.counts[kind] += count

    def fail(self, now: float, problem: str) -> None:
        """End the world."""
        raise Broken(f"seed {self.seed}, {now:.3f} s: {problem}")

    def check(self, now: float, problems: list[str]) -> None:
        """End the world if there are problems."""
        self.counts["checks"] += 1
        if problems:
            self.fail(now, "; ".join(problems[:5]))

    def table(self) -> str:
        """Everything that was counted, a kind a line."""
        return "\n".join(f"  {kind:<44}{count:>12,}" for kind, count in sorted(self.counts.items()))
