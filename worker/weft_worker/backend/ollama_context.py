"""The `context` of Ollama's /api/generate: tokens of what was said, which clients send back to go on with it.

Ollama calls it deprecated, and still tells it in every answer to a prompt that is not raw.
"""

import asyncio
from collections.abc import Sequence

from weft_common.errors import DeadlineExceeded, FieldViolation, InvalidRequest, WeftError
from weft_worker.engines.abilities import Conversation, Counter
from weft_worker.engines.base import Asked, Completion, Engine, Message, Thinking

# Engines have no deadline of their own for it.
_SECONDS = 10.0


async def conversation_tokens(
    engine: Engine, messages: Sequence[Message], thinking: Thinking | None
) -> tuple[int, ...]:
    """What a conversation is for the model; raises InvalidRequest where the engine cannot tell."""
    if not isinstance(engine, Counter):
        words = (
            "The engine of this model takes no tokens of earlier answers: send a conversation to /api/chat"
        )
        raise InvalidRequest(f"context: {words}.", violations=[FieldViolation("context", words)])
    try:
        async with asyncio.timeout(_SECONDS):
            return (await engine.tokenize(Conversation(tuple(messages), thinking=thinking))).ids
    except TimeoutError as error:
        raise DeadlineExceeded("The engine takes for ever to count the prompt.") from error


async def context_of(engine: Engine, asked: Asked, answer: str) -> tuple[int, ...]:
    """Tokens of what was asked and of the answer; none where the engine cannot tell, which costs nobody the answer."""
    if not isinstance(engine, Counter):
        return ()
    try:
        async with asyncio.timeout(_SECONDS):
            return await _asked(engine, asked) + (await engine.tokenize(answer)).ids
    except (WeftError, TimeoutError):
        return ()


async def _asked(engine: Counter, asked: Asked) -> tuple[int, ...]:
    if isinstance(asked, Completion):
        return (
            asked.prompt if not isinstance(asked.prompt, str) else (await engine.tokenize(asked.prompt)).ids
        )
    texts = tuple(Message(message.role, message.content) for message in asked.messages)
    return (await engine.tokenize(Conversation(texts, thinking=asked.thinking))).ids
