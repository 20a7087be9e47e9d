"""From a request to a job: the conversation as tokens that fit, and everything that its answer is held to."""

from collections.abc import Mapping
from typing import Any

from weft_common.errors import FieldViolation, InvalidRequest
from weft_worker.engines.abilities import Conversation
from weft_worker.engines.base import (
    Asked,
    Completion,
    Delta,
    Event,
    Generation,
    Thinking,
    Tools,
)
from weft_worker.engines.chat_template import ChatTemplate
from weft_worker.engines.feed import Feed
from weft_worker.engines.forms import held_form, held_sampling, shown_tools
from weft_worker.engines.limits import (
    check_completion,
    messages_too_long,
    no_prompt,
    prompt_too_long,
    unknown_prompt_token,
)
from weft_worker.engines.spoken_thoughts import thoughts_after
from weft_worker.engines.transformers.answer import Answer
from weft_worker.engines.transformers.choosing import manner_of
from weft_worker.engines.transformers.runner import End, Job
from weft_worker.engines.transformers.sampler import Sampler
from weft_worker.engines.transformers.vocabulary import Vocabulary


class Prompts:
    """What is the same for all requests of a model."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        template: ChatTemplate,
        context_size: int,
        defaults: Mapping[str, Any],
        logit_count: int,
    ) -> None:
        self._vocabulary = vocabulary
        self._template = template
        self._context_size = context_size
        self._defaults = defaults
        self._logit_count = logit_count

    @property
    def thinks(self) -> bool:
        """Whether the model does, or can be had to."""
        return self._template.thinks

    @property
    def chats(self) -> bool:
        """Whether there is a chat template."""
        return self._template.chats

    def tokens(self, asked: Conversation) -> list[int]:
        """Write a conversation as the model knows it; blocks. Raises InvalidRequest where the template refuses it."""
        tools = Tools(asked.tools) if asked.tools else None
        return self._vocabulary.encode(self._template.render(asked.messages, tools, asked.thinking))

    def job(self, asked: Asked, feed: Feed[Event | End]) -> Job:
        """Make a job; blocks. Raises InvalidRequest, and ContextLengthExceeded where there is no room for an answer."""
        vocabulary, sampling = self._vocabulary, held_sampling(asked)
        form = held_form(asked)
        prompt, answer = (
            self._completion(asked)
            if isinstance(asked, Completion)
            else self._conversation(asked, may_think=form is None)
        )
        if sampling.top_logprobs is not None:
            vocabulary.guides()  # now, and not in the thread in which others advance
        guidance = vocabulary.guides().follow(form) if form is not None else None
        self._check_bias(sampling.logit_bias)
        forbidden = sorted(vocabulary.end_tokens) if sampling.ignore_eos else []
        room = self._context_size - len(prompt)
        return Job(
            prompt=prompt,
            answer=answer,
            sampler=Sampler(sampling, manner_of(sampling, self._defaults), prompt, forbidden, guidance),
            guidance=guidance,
            must_keep_form=form is not None and not sampling.stop,
            limit=room if sampling.max_tokens is None else min(sampling.max_tokens, room),
            end_tokens=vocabulary.end_tokens,
            feed=feed,
        )

    def _conversation(self, asked: Generation, *, may_think: bool) -> tuple[list[int], Answer]:
        texts = [message.content for message in asked.messages]
        if (least := self._vocabulary.least_count(texts)) > self._context_size:
            raise messages_too_long(least, self._context_size)
        thinking = asked.thinking if may_think else Thinking(enabled=False)
        written = self._template.render(asked.messages, shown_tools(asked), thinking)
        prompt = self._vocabulary.encode(written)
        if len(prompt) >= self._context_size:
            raise messages_too_long(len(prompt), self._context_size)
        if not prompt:
            raise InvalidRequest("messages: the model's chat template makes nothing of them.")
        thoughts = thoughts_after(written) if may_think and self._template.thinks else None
        return prompt, Answer(asked, self._vocabulary.decode, len(prompt), thoughts=thoughts)

    def fitting(self, asked: Completion) -> list[int]:
        """The tokens of a text to go on with; blocks. Raises ContextLengthExceeded, and InvalidRequest."""
        text = asked.prompt if isinstance(asked.prompt, str) else None
        if text is None:
            prompt = [int(token) for token in asked.prompt]
        elif (least := self._vocabulary.least_count([text])) > self._context_size:
            raise prompt_too_long(asked, least, self._context_size)
        else:
            prompt = self._vocabulary.encode(text, as_whole=True)
        if len(prompt) >= self._context_size:
            raise prompt_too_long(asked, len(prompt), self._context_size)
        if not prompt:
            raise no_prompt()
        if max(prompt) >= self._logit_count:
            raise unknown_prompt_token(max(prompt), self._logit_count)
        return prompt

    def _completion(self, asked: Completion) -> tuple[list[int], Answer]:
        check_completion(asked)
        prompt, text = self.fitting(asked), asked.prompt if isinstance(asked.prompt, str) else None
        echo = Delta(self._vocabulary.decode(prompt) if text is None else text, 0) if asked.echo else None
        return prompt, Answer(asked, self._vocabulary.decode, len(prompt), echo=echo)

    def _check_bias(self, bias: Mapping[int, float]) -> None:
        unknown = [token for token in bias if not 0 <= token < self._logit_count]
        if unknown:
            words = f"there is no token {unknown[0]} in the model's vocabulary"
            raise InvalidRequest(f"logit_bias: {words}.", violations=[FieldViolation("logit_bias", words)])
