"""The turns of a conversation: which blocks may stand where, and what messages an engine makes of them."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, model_validator

from weft_worker.dialects.anthropic.blocks import (
    Block,
    DocumentBlock,
    ForeignType,
    ImageBlock,
    Part,
    SearchResultBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    as_blocks,
    text_of,
)
from weft_worker.dialects.anthropic.fields import Body, wrong
from weft_worker.dialects.images import MAX_IMAGE_COUNT, MAX_TOTAL_PIXELS, are_too_many_pixels
from weft_worker.engines.base import Image, Message, Role

_SAID = (TextBlock, ImageBlock, DocumentBlock, SearchResultBlock)
_TYPES = {
    "user": ("text", "image", "document", "search_result", "tool_result"),
    "assistant": ("text", "thinking", "redacted_thinking", "tool_use", *get_args(ForeignType)),
    "system": ("text",),
}


class Turn(Body):
    """One message: what one side said."""

    role: Literal["user", "assistant", "system"]
    content: Annotated[list[Block], BeforeValidator(as_blocks)]

    @model_validator(mode="after")
    def _check(self) -> "Turn":
        if not self.content:
            raise wrong("content", "All messages must have non-empty content")
        for index, block in enumerate(self.content):
            if block.type not in _TYPES[self.role]:
                raise wrong(
                    f"content.{index}", f"'{block.type}' blocks cannot be in messages of role '{self.role}'"
                )
            if isinstance(block, TextBlock) and not block.text:
                raise wrong(f"content.{index}.text", "Text content blocks must be non-empty")
        return self


def check_turns(turns: Sequence[Turn]) -> None:
    """Raise where a conversation is none that a model can answer."""
    if not turns:
        raise wrong("messages", "At least one message is required")
    # The one form of a prompt that the engines have no way to.
    if turns[-1].role == "assistant":
        raise wrong(
            "messages",
            "This model does not support assistant message prefill. The conversation must end with a user message",
        )
    _check_results(turns)
    _check_images([image.data for turn in turns for image in _images(turn)])


def messages_of(turns: Sequence[Turn]) -> Iterator[Message]:
    """Say the same in the words of engines; turns of one side that follow each other are one."""
    for role, group in groupby(turns, key=lambda turn: turn.role):
        blocks = [block for turn in group for block in turn.content]
        match role:
            case "user":
                yield from _asked(blocks)
            case "assistant":
                calls = tuple(block.to_call() for block in blocks if isinstance(block, ToolUseBlock))
                thoughts = "".join(block.thinking for block in blocks if isinstance(block, ThinkingBlock))
                yield Message(Role.ASSISTANT, text_of(_said(blocks)), tool_calls=calls, reasoning=thoughts)
            case "system":
                yield Message(Role.SYSTEM, text_of(_said(blocks)))


def _asked(blocks: Sequence[Block]) -> Iterator[Message]:
    """What tools said comes first; what they showed is shown by the user, since nobody else shows images."""
    results = [block for block in blocks if isinstance(block, ToolResultBlock)]
    for result in results:
        yield Message(Role.TOOL, result.text, tool_call_id=result.tool_use_id)
    parts: list[Part] = [image for result in results for image in result.images]
    parts += _said(blocks)
    if parts:
        has_images = any(isinstance(part, Image) for part in parts)
        yield Message(Role.USER, text_of(parts), parts=_joined(parts) if has_images else ())


def _joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Texts that follow each other as one."""
    groups = groupby(parts, key=lambda part: isinstance(part, str))
    return tuple(part for is_text, group in groups for part in ([text_of([*group])] if is_text else group))


def _said(blocks: Sequence[Block]) -> list[Part]:
    return [part for block in blocks if isinstance(block, _SAID) for part in block.parts()]


def _images(turn: Turn) -> Iterator[Image]:
    for block in turn.content:
        if isinstance(block, (*_SAID, ToolResultBlock)):
            yield from (part for part in block.parts() if isinstance(part, Image))


def _check_images(images: Sequence[bytes]) -> None:
    if len(images) > MAX_IMAGE_COUNT:
        raise wrong("messages", f"At most {MAX_IMAGE_COUNT} images are taken")
    if are_too_many_pixels(images):
        raise wrong("messages", f"The images have more than {MAX_TOTAL_PIXELS:,} pixels together")


def _check_results(turns: Sequence[Turn]) -> None:
    """Raise where a call and what its tool said do not belong together, as chat templates need it."""
    called: dict[str, str] = {}
    """By the id of each call that waits for its result, where it is."""
    for at, turn in enumerate(turns):
        results = {block.tool_use_id for block in turn.content if isinstance(block, ToolResultBlock)}
        if turn.role == "user":
            if unknown := sorted(known for known in results if known not in called):
                raise wrong(
                    f"messages.{at}",
                    f"unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(unknown)}. Each "
                    "`tool_result` block must have a corresponding `tool_use` block in the previous message",
                )
            for answered in results:
                del called[answered]
        is_answered = at + 1 == len(turns) or turns[at + 1].role != "user"
        if called and turn.role == "user" and is_answered:
            raise _unanswered(called)
        if turn.role == "assistant":
            for block in turn.content:
                if isinstance(block, ToolUseBlock):
                    called[block.id] = f"messages.{at}"


def _unanswered(called: dict[str, str]) -> Exception:
    return wrong(
        next(iter(called.values())),
        f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(called)}. Each "
        "`tool_use` block must have a corresponding `tool_result` block in the next message",
    )
