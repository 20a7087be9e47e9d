"""Holds the answers of torch engines to a form: which tokens may come next, as llguidance sees it.

It reads the tokenizer that the model has, and schemas as json_form.py writes them, so that every engine keeps and
refuses the same ones, and writes them alike.
"""

from collections.abc import Sequence
from typing import Any, assert_never

from llguidance import LLMatcher, LLTokenizer
from llguidance.gbnf_to_lark import any_to_lark

from weft_common.errors import FieldViolation, InvalidRequest
from weft_worker.engines.base import GrammarForm, JsonForm
from weft_worker.engines.forms import HeldForm, JsonOrCalls
from weft_worker.engines.json_form import lark_choice, lark_grammar


class Guides:
    """A model's vocabulary, which takes about a second to read where it is large; one for all answers.

    `tokenizer` is the text of a `tokenizer.json`; `end_ids` are the tokens that end an answer.
    """

    def __init__(self, tokenizer: str, end_ids: Sequence[int]) -> None:
        """Raise ValueError where llguidance cannot use the tokenizer."""
        self._tokenizer = LLTokenizer(tokenizer, eos_token=list(end_ids))
        self.token_count = self._tokenizer.vocab_size

    def token_bytes(self, token: int) -> bytes:
        """Give what a token stands for in an answer; nothing where it is a special one, or none at all."""
        if token >= self.token_count or self._tokenizer.is_special_token(token):
            return b""
        return self._tokenizer.decode_bytes([token])

    def spelling(self, token: int) -> bytes:
        """The same, with special tokens by their names."""
        return self._tokenizer.decode_bytes([token]) if token < self.token_count else b""

    def follow(self, form: HeldForm) -> "Guidance":
        """Begin an answer of that form; blocks for as long as the form is long. Raises InvalidRequest that says why
        it cannot be kept."""
        matcher = LLMatcher(self._tokenizer, _grammar(form), log_level=0)
        if matcher.is_error():
            raise _refused("grammar" if isinstance(form, GrammarForm) else "schema", matcher.get_error())
        return Guidance(matcher)


class Guidance:
    """One answer on its way through its form; state: where it is."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    @property
    def must_end(self) -> bool:
        """Whether nothing but the end may come: the form is complete, or led to where nothing can follow."""
        return self._matcher.is_stopped()

    @property
    def is_complete(self) -> bool:
        """Whether the answer so far is all that its form asks for."""
        return not self._matcher.is_error() and self._matcher.is_accepting()

    def allowed(self) -> bytes:
        """Tell which tokens may come next, a bit for each, the lowest bit of a byte first; releases the interpreter's
        lock meanwhile.

        Those that end the answer are among them where it may end, and they alone where it must.
        """
        return self._matcher.compute_bitmask()

    def forbid_others(self, logits: Any, allowed: bytes | None = None) -> None:
        """Make all tokens but those impossible, in a torch tensor of one dimension that may be longer than the
        vocabulary; `allowed` where they are told already."""
        import torch

        bits = torch.frombuffer(bytearray(self.allowed() if allowed is None else allowed), dtype=torch.uint8)
        places = torch.arange(8, dtype=torch.uint8)
        is_allowed = ((bits.unsqueeze(1) >> places) & 1).flatten().bool()[: logits.shape[0]]
        logits[: len(is_allowed)].masked_fill_(~is_allowed.to(logits.device), float("-inf"))
        logits[len(is_allowed) :] = float("-inf")

    def advance(self, token: int) -> None:
        """Take note of the token that was chosen; one that ends the answer changes nothing."""
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token)

    def require_complete(self) -> None:
        """Raise InvalidRequest for an answer that ended before its form was kept, as some show only on the way."""
        if not self.is_complete:
            raise InvalidRequest(
                "The schema cannot be kept: it led to where nothing can follow; the answer ends there."
            )


def _grammar(form: HeldForm) -> str:
    match form:
        case JsonForm():
            return lark_grammar(form.schema)
        case GrammarForm():
            return _lark(form.grammar)
        case JsonOrCalls():
            return lark_choice(form.schema, form.call_schema, single_call=form.single_call)
        case _:
            assert_never(form)


def _lark(grammar: str) -> str:
    """Lark's notation, or llama.cpp's (GBNF), for which there is a converter."""
    try:
        return any_to_lark(grammar)
    except Exception as error:  # it raises whatever its parser came upon
        raise _refused("grammar", str(error)) from error


def _refused(what: str, trouble: str) -> InvalidRequest:
    told = trouble.strip() or "it cannot be read"
    words = f"The {what} cannot be kept: {told.splitlines()[0]}"
    return InvalidRequest(f"{words}.", violations=[FieldViolation(what, words)])
