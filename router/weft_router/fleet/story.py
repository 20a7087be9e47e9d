"""What happened to a node or a replica so far, for the error that has to explain how it got there."""

from collections import deque
from dataclasses import dataclass, field

_KEEP = 16


@dataclass(slots=True)
class Stories:
    """The last chapters of everybody's life, by id; state: `_chapters`."""

    _chapters: dict[str, deque[str]] = field(default_factory=dict)

    def note(self, who: str, chapter: str) -> None:
        """Add a chapter, unless nothing happened since the last one."""
        chapters = self._chapters.setdefault(who, deque(maxlen=_KEEP))
        if not chapters or chapters[-1].partition(" ")[2] != chapter.partition(" ")[2]:
            chapters.append(chapter)

    def tell(self, who: str) -> str:
        """The story so far, oldest chapter first."""
        return f"{who}: " + (", ".join(self._chapters.get(who, ())) or "nothing is known of it")

    def forget(self, who: str) -> None:
        """Drop the story of somebody who is gone."""
        self._chapters.pop(who, None)
