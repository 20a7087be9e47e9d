"""A model's vocabulary as its tokenizer has it: texts to tokens and back, and what each token stands for."""

import threading
from collections.abc import Sequence
from typing import Any

from weft_common.errors import LoadFailed
from weft_worker.engines.guidance import Guides

_LOSS = 16


class Vocabulary:
    """State: the guides, once somebody needs them: for a large vocabulary they take a second and memory."""

    def __init__(self, tokenizer: Any, end_tokens: Sequence[int]) -> None:
        """`tokenizer` is one of the library `tokenizers`."""
        self.end_tokens = frozenset(end_tokens)
        self._tokenizer = tokenizer
        self._guides: Guides | None = None
        self._lock = threading.Lock()
        self._special = frozenset(
            token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special
        )
        # Where nothing is changed before a text is cut, no token stands for more of it than its own name is long. Where
        # spaces may be joined, or accents dropped, it is not by much more.
        per_name = 1 if tokenizer.normalizer is None else _LOSS
        self._longest: int = max(map(len, tokenizer.get_vocab()), default=1) * per_name

    def encode(self, text: str, *, as_whole: bool = False) -> list[int]:
        """Make tokens; with those that begin and end a text of its own where it is a whole. Blocks, without the
        interpreter's lock."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=as_whole).ids
        return ids

    def decode(self, tokens: Sequence[int]) -> str:
        """Make text, which special tokens are no part of."""
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def describe(self, token: int) -> tuple[str, bytes]:
        """Text and bytes of one token; of a special one its name."""
        if token in self._special:
            name: str = self._tokenizer.id_to_token(token)
            return name, name.encode()
        data = self.guides().token_bytes(token)
        return data.decode(errors="replace"), data

    def guides(self) -> Guides:
        """What answers are held to forms with; the first time blocks for up to a second. Raises LoadFailed."""
        with self._lock:
            if self._guides is None:
                try:
                    self._guides = Guides(self._tokenizer.to_str(), sorted(self.end_tokens))
                except ValueError as error:
                    raise LoadFailed(f"llguidance cannot use the model's tokenizer: {error}.") from error
            return self._guides

    def least_count(self, texts: Sequence[str]) -> int:
        """How many tokens they are at least, known without looking: to cut a long text takes long."""
        return -(-sum(len(text.strip().encode()) for text in texts) // self._longest)
