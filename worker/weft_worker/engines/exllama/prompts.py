"""Conversations and texts as orders for a generator: tokens that fit, and everything that an answer is held to."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

from weft_common.errors import EngineFailed, FieldViolation, InvalidRequest, LoadFailed
from weft_worker.engines.abilities import Conversation, Tokens
from weft_worker.engines.base import (
    Asked,
    Completion,
    Delta,
    Event,
    Generation,
    Thinking,
    Tools,
    Usage,
    begun,
)
from weft_worker.engines.chat_template import ChatTemplate, read_chat_template
from weft_worker.engines.exllama.batch import Order
from weft_worker.engines.exllama.folder import FolderFacts
from weft_worker.engines.exllama.options import Plan
from weft_worker.engines.forms import held_form, held_sampling, shown_tools
from weft_worker.engines.guidance import Guides
from weft_worker.engines.limits import check_completion, no_prompt, too_long, unknown_prompt_token
from weft_worker.engines.spoken_thoughts import SpokenThoughts, thoughts_after

P = ParamSpec("P")
T = TypeVar("T")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An order, and how what comes of it is told: `echo` before everything else, thoughts and calls apart."""

    order: Order
    tools: Tools | None = None
    thoughts: SpokenThoughts | None = None
    echo: Delta | None = None

    def opened(self, events: list[Event]) -> list[Event]:
        """The first events of an answer, which tell of the prompt."""
        told = [*([self.echo] if self.echo is not None else []), *events]
        return [begun(told[0], Usage(len(self.order.prompt), 0)), *told[1:]]


class Prompts:
    """Turns conversations into orders, in threads of its own: long texts take a while, and others stream meanwhile."""

    def __init__(self, facts: FolderFacts, template: ChatTemplate, tokenizer: Any) -> None:
        self.guides = Guides(facts.tokenizer, facts.end_ids)
        self._end_ids = facts.end_ids
        self._template = template
        self._tokenizer = tokenizer
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="exllama-prompt")
        # Where nothing is changed before a text is cut, no token stands for more of it than its own name is long.
        is_lossless = tokenizer.normalizer is None
        self._longest = max(map(len, tokenizer.get_vocab()), default=1) if is_lossless else None

    @classmethod
    def read(cls, facts: FolderFacts, plan: Plan) -> "Prompts":
        """Read template and tokenizer; raises LoadFailed. Blocks."""
        # Only in a process that runs such a model.
        from tokenizers import Tokenizer

        template = read_chat_template(facts.path, file=plan.chat_template)
        if facts.longest_context and plan.context_size > facts.longest_context:
            sizes = {"context_size": plan.context_size, "longest": facts.longest_context}
            _logger.warning("context_beyond_the_models", extra=sizes)
        try:
            return cls(facts, template, Tokenizer.from_str(facts.tokenizer))
        except Exception as error:  # both libraries raise plain exceptions
            raise LoadFailed(f"The tokenizer in {facts.path} cannot be used: {error}.") from error

    @property
    def thinks(self) -> bool:
        """Whether the model does, or can be had to."""
        return self._template.thinks

    async def prepare(self, asked: Asked, context_size: int) -> Prepared:
        """Raise InvalidRequest, or ContextLengthExceeded, before anything is computed."""
        form = held_form(asked)
        if isinstance(asked, Completion):
            check_completion(asked)
        self._require_may_fit(asked, context_size)
        if isinstance(asked, Completion):
            prompt, echo, thoughts = await self._in_thread(self._text, asked)
        else:
            prompt, thoughts = await self._in_thread(self._conversation, asked, form is None)
            echo = None
        if len(prompt) >= context_size:
            raise too_long(asked, len(prompt), context_size)
        room, sampling = context_size - len(prompt), held_sampling(asked)
        self._require_known(sampling.logit_bias)
        order = Order(
            prompt=prompt,
            limit=room if sampling.max_tokens is None else min(sampling.max_tokens, room),
            sampling=sampling,
            end_ids=self._end_ids,
            guidance=await self._in_thread(self.guides.follow, form) if form is not None else None,
        )
        return Prepared(order, asked.tools if isinstance(asked, Generation) else None, thoughts, echo)

    async def counted(self, text: str | Conversation, *, with_pieces: bool) -> Tokens:
        """The same with what each token stands for, if that is asked for."""
        return await self._in_thread(self._counted, text, with_pieces)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False)

    async def _in_thread(self, make: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
        """Raise EngineFailed once the threads are to end, besides what it raises itself."""
        try:
            made = asyncio.get_running_loop().run_in_executor(
                self._threads, partial(make, *arguments, **more)
            )
        except RuntimeError as error:  # a pool that is shut; what `make` raises comes later
            raise EngineFailed("The model was closed meanwhile.") from error
        return await made

    def _counted(self, text: str | Conversation, with_pieces: bool) -> Tokens:
        if isinstance(text, Conversation):
            tools = Tools(text.tools) if text.tools else None
            text = self._template.render(text.messages, tools, text.thinking)
        ids = self._tokens(text)
        return Tokens(ids, tuple(map(self.guides.spelling, ids)) if with_pieces else ())

    def _conversation(
        self, asked: Generation, may_think: bool
    ) -> tuple[tuple[int, ...], SpokenThoughts | None]:
        thinking = asked.thinking if may_think else Thinking(enabled=False)
        written = self._template.render(asked.messages, shown_tools(asked), thinking)
        prompt = self._tokens(written)
        if not prompt:
            raise InvalidRequest("messages: the model's chat template makes no prompt of this conversation.")
        return prompt, thoughts_after(written) if may_think and self._template.thinks else None

    def _text(self, asked: Completion) -> tuple[tuple[int, ...], Delta | None, None]:
        """The tokens of a prompt, with those that texts begin with, and its echo where one is asked for."""
        text = asked.prompt if isinstance(asked.prompt, str) else None
        prompt = (
            tuple(int(token) for token in asked.prompt) if text is None else self._tokens(text, as_whole=True)
        )
        if not prompt:
            raise no_prompt()
        if max(prompt) >= self.guides.token_count:
            raise unknown_prompt_token(max(prompt), self.guides.token_count)
        if not asked.echo:
            return prompt, None, None
        spelt = b"".join(map(self.guides.token_bytes, prompt)).decode(errors="replace")
        return prompt, Delta(spelt if text is None else text, 0), None

    def _tokens(self, text: str, *, as_whole: bool = False) -> tuple[int, ...]:
        # A template has written what marks the beginning, if anything does.
        return tuple(self._tokenizer.encode(text, add_special_tokens=as_whole).ids)

    def _require_may_fit(self, asked: Asked, context_size: int) -> None:
        """To cut a text that is far too long takes long."""
        if self._longest is None:
            return
        texts = (
            [asked.prompt if isinstance(asked.prompt, str) else ""]
            if isinstance(asked, Completion)
            else [message.content for message in asked.messages]
        )
        least = -(-sum(len(text.strip().encode()) for text in texts) // self._longest)
        if least > context_size:
            raise too_long(asked, least, context_size)

    def _require_known(self, tokens: Sequence[int] | Any) -> None:
        for token in tokens:
            if not 0 <= token < self.guides.token_count:
                words = f"the model has {self.guides.token_count} tokens, and none of the number {token}"
                raise InvalidRequest(
                    f"logit_bias: {words}.", violations=[FieldViolation("logit_bias", words)]
                )
