"""POST /v1/tokenize: the text to count, under LocalAI's name or under vLLM's, or a conversation; and its tokens."""

from typing import Annotated

import orjson
from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from weft_worker.dialects.invalid import parse_body
from weft_worker.dialects.openai.chat_messages import ChatMessage
from weft_worker.dialects.openai.chat_tools import OfferedTools
from weft_worker.dialects.openai.fields import Body, ModelName, wrong
from weft_worker.dialects.texts import MAX_BYTES_WITH_PIECES, MAX_TEXT_BYTES, is_too_large, too_large
from weft_worker.engines.abilities import Conversation, Tokens
from weft_worker.engines.base import Message


def _without_images(messages: list[ChatMessage]) -> list[ChatMessage]:
    if any(message.content and message.content.images for message in messages):
        raise PydanticCustomError("images", "Should have no images: how many tokens they are is not known")
    return messages


class TokenizeRequest(Body):
    """One of `content` (`prompt`) and `messages`; `return_token_strs` has the text of each token told."""

    model: ModelName
    content: str | None = None
    prompt: str | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1), AfterValidator(_without_images)] | None = None
    tools: OfferedTools | None = None
    return_token_strs: bool | None = None

    @model_validator(mode="after")
    def _check(self) -> "TokenizeRequest":
        given = [name for name in ("content", "prompt", "messages") if getattr(self, name) is not None]
        if len(given) != 1:
            raise wrong("content", "Needs one of 'content' (or 'prompt') and 'messages'")
        most = MAX_BYTES_WITH_PIECES if self.return_token_strs else MAX_TEXT_BYTES
        if is_too_large(self._said(), most):
            raise wrong(given[0], too_large(most))
        return self

    def to_input(self) -> str | Conversation:
        """Say the same in the words of engines."""
        if self.messages is None:
            return self.content or self.prompt or ""
        tools = tuple(tool.to_tool() for tool in self.tools or ())
        return Conversation(tuple(message.to_message() for message in self.messages), tools)

    def _said(self) -> str:
        given = self.to_input()
        if isinstance(given, str):
            return given
        tools = (f"{tool.name}{tool.description}{tool.parameters}" for tool in given.tools)
        return "".join((*map(_said, given.messages), *tools))


def parse_tokenize_request(body: bytes) -> TokenizeRequest:
    """Read a body; raises InvalidRequest that names the fields."""
    return parse_body(TokenizeRequest, body)


def tokenize_response(request: TokenizeRequest, tokens: Tokens) -> bytes:
    """Encode the answer; parts of characters are U+FFFD in texts."""
    answer: dict[str, object] = {"tokens": tokens.ids, "count": len(tokens.ids)}
    if request.return_token_strs:
        answer["token_strs"] = [piece.decode(errors="replace") for piece in tokens.pieces]
    return orjson.dumps(answer)


def _said(message: Message) -> str:
    return message.content + "".join(call.arguments for call in message.tool_calls)
