"""Holds text back while it may still become a stop string, and cuts it off where it did."""

from collections.abc import Sequence


class StopFilter:
    """State: the text held back, and the stop string that was found."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.found = ""

    def pass_on(self, text: str) -> str:
        """Take more text and give what is safe to show."""
        self._held += text
        ends = [(place, stop) for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if ends:
            place, self.found = min(ends)
            shown, self._held = self._held[:place], ""
            return shown
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def rest(self) -> str:
        """Give what was held back, at the end."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, stop: str) -> int:
        lengths = range(min(len(stop) - 1, len(self._held)), 0, -1)
        return next((length for length in lengths if self._held.endswith(stop[:length])), 0)
