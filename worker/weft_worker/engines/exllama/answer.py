"""Makes text out of the tokens of one answer, up to a stop string if there is one. Pure."""

import codecs
from collections.abc import Sequence

from weft_worker.engines.base import Delta, TokenChance, TokenLogprob
from weft_worker.engines.exllama.batch import Token
from weft_worker.engines.guidance import Guides
from weft_worker.engines.held_text import HeldText, first_stop, partial_end


class AnswerText:
    """State: the bytes of a character that is not whole, text that may begin a stop string, and the tokens so far.

    Not the libraries' own: they let a stop string through whose last token is the last one that may come.
    """

    def __init__(self, guides: Guides, stops: Sequence[str], end_ids: Sequence[int]) -> None:
        self.token_count = 0
        self.is_stopped = False
        """Whether a stop string came: nothing more is told."""
        self.stop_sequence = ""
        self._guides = guides
        self._stops = tuple(stop for stop in stops if stop)
        self._end_ids = frozenset(end_ids)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = HeldText()

    def read(self, tokens: Sequence[Token]) -> Delta | None:
        """Take tokens in their order; gives the text that may be told by now, if any."""
        for token in tokens:
            if self.is_stopped:
                return None
            self.token_count += 1
            if token.id not in self._end_ids:
                self._held.put(self._piece(token))
            if (found := first_stop(self._held.text, self._stops)) is not None:
                self.is_stopped = True
                at, self.stop_sequence = found
                return self._told(at)
        return self._told(len(self._held.text) - self._held_back())

    def finish(self) -> Delta | None:
        """Give what is still held when no more tokens come."""
        if self.is_stopped:
            return None
        self._held.put(Delta(self._decoder.decode(b"", final=True), 0))
        rest = self._held.take_all()
        return rest if rest.text else None

    def _piece(self, token: Token) -> Delta:
        data = self._guides.token_bytes(token.id)
        return Delta(self._decoder.decode(data), 1, self._logprobs(token, data))

    def _logprobs(self, token: Token, data: bytes) -> tuple[TokenLogprob, ...]:
        if token.chances is None:
            return ()
        likeliest = tuple(
            _chance(self._guides.spelling(number), chance) for number, chance in token.chances.likeliest
        )
        return (TokenLogprob(_chance(data, token.chances.chosen), likeliest),)

    def _held_back(self) -> int:
        return max((partial_end(self._held.text, stop) for stop in self._stops), default=0)

    def _told(self, count: int) -> Delta | None:
        return self._held.take(count) if count > 0 else None


def _chance(data: bytes, logprob: float) -> TokenChance:
    return TokenChance(data.decode(errors="replace"), data, logprob)
