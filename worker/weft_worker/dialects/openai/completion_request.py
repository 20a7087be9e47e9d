"""The body of POST /v1/completions: strict about what is known, silent about fields that are not."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, PlainValidator, model_validator

from weft_worker.dialects.invalid import parse_body
from weft_worker.dialects.openai.fields import MAX_ANSWER_COUNT, unsupported, wrong
from weft_worker.dialects.openai.inputs import Inputs, read_prompts
from weft_worker.dialects.openai.writing import WritingBody, with_seed
from weft_worker.dialects.texts import is_too_large, too_large
from weft_worker.engines.base import Completion

_DEFAULT_MAX_TOKENS = 16  # OpenAI's


def _only_one(count: int | None) -> int | None:
    if count is not None and count > 1:
        raise unsupported("Only 1 is supported: ask for several answers with 'n', and choose among them")
    return count


class CompletionRequest(WritingBody):
    """A request to go on with texts; `n` answers to each of them."""

    prompt: Annotated[Inputs, PlainValidator(read_prompts)] = Inputs(("",), is_list=False)
    suffix: str | None = None
    max_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    best_of: Annotated[Annotated[int, Field(ge=1)] | None, AfterValidator(_only_one)] = None

    @model_validator(mode="after")
    def _check(self) -> "CompletionRequest":
        if self.max_tokens == 0 and not self.echo:
            raise wrong("max_tokens", "Should be 1 at least, but with 'echo'")
        if self.suffix and is_too_large(self.suffix):
            raise wrong("suffix", too_large())
        if len(self.prompt.texts) * self.answers_per_prompt > MAX_ANSWER_COUNT:
            raise wrong(
                "n" if self.answers_per_prompt > 1 else "prompt",
                f"At most {MAX_ANSWER_COUNT} answers are given to one request: 'n' for each prompt",
            )
        return self

    @property
    def answers_per_prompt(self) -> int:
        """How many answers each prompt gets."""
        return self.n or 1

    def to_completions(self) -> Sequence[Completion]:
        """Say the same in the words of engines, once for each answer: those to the first prompt come first."""
        max_tokens = _DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens
        sampling = self.sampling(max_tokens, self.logprobs)
        return [
            Completion(text, with_seed(sampling, number), self.form, self.suffix or "", bool(self.echo))
            for text in self.prompt.texts
            for number in range(self.answers_per_prompt)
        ]


def parse_completion_request(body: bytes) -> CompletionRequest:
    """Read a body; raises InvalidRequest that names the fields."""
    return parse_body(CompletionRequest, body)
