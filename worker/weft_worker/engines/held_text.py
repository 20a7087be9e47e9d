"""Text that was generated and may not be told yet, in the pieces that it came in: what tokens are told is exact."""

from collections import deque
from collections.abc import Sequence

from weft_worker.engines.base import Delta, TokenLogprob


class HeldText:
    """State: the pieces, and their text as one."""

    def __init__(self) -> None:
        self.text = ""
        self._pieces: deque[Delta] = deque()

    def put(self, piece: Delta) -> None:
        """Add what was generated; a piece may have tokens and no text."""
        self.text += piece.text
        self._pieces.append(piece)

    def take(self, count: int) -> Delta:
        """Take so many characters from the front, with their tokens; one that is cut apart counts as of the first part.

        Tokens without a text of their own go with what follows them.
        """
        texts: list[str] = []
        logprobs: list[TokenLogprob] = []
        token_count = 0
        left = count
        while left and self._pieces:
            piece = self._pieces.popleft()
            texts.append(piece.text[:left])
            token_count += piece.token_count
            logprobs += piece.logprobs
            if rest := piece.text[left:]:
                self._pieces.appendleft(Delta(rest, 0))
            left -= len(texts[-1])
        self.text = self.text[count:]
        return Delta("".join(texts), token_count, tuple(logprobs))

    def take_all(self) -> Delta:
        """Take everything, also tokens without text."""
        told = self.take(len(self.text))
        rest = list(self._pieces)
        self._pieces.clear()
        logprobs = (*told.logprobs, *(each for piece in rest for each in piece.logprobs))
        return Delta(told.text, told.token_count + sum(piece.token_count for piece in rest), logprobs)


def first_stop(text: str, stops: Sequence[str]) -> tuple[int, str] | None:
    """Where the first of some stop strings begins in a text, and which it is; of several there the first one given."""
    found = ((at, number) for number, stop in enumerate(stops) if (at := text.find(stop)) >= 0)
    place = min(found, default=None)
    return None if place is None else (place[0], stops[place[1]])


def partial_end(text: str, marker: str) -> int:
    """How many characters at the end of a text may become a marker."""
    for count in range(min(len(marker) - 1, len(text)), 0, -1):
        if text.endswith(marker[:count]):
            return count
    return 0
