"""The body of POST /api/generate: one prompt, as a conversation or, where asked for, as it is."""

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from weft_worker.dialects.images import MAX_TOTAL_PIXELS, are_too_many_pixels
from weft_worker.dialects.invalid import FIELD
from weft_worker.dialects.ollama.fields import Asking, Images, Whole, form_of, parse, shown
from weft_worker.dialects.texts import is_too_large, too_large
from weft_worker.engines.base import Asked, Completion, Generation, Message, Role

MAX_CONTEXT = 1 << 20


def parse_generate_request(body: bytes) -> "GenerateRequest":
    """Read a body; raises InvalidRequest that names the fields."""
    return parse(GenerateRequest, body)


class GenerateRequest(Asking):
    """A prompt to complete; an empty one only loads its model, or unloads it."""

    prompt: str | None = None
    system: str | None = None
    suffix: str | None = None
    template: str | None = None
    raw: bool | None = None
    images: Images | None = None
    context: (
        Annotated[list[Annotated[Whole, Field(ge=0, lt=2**31)]], Field(max_length=MAX_CONTEXT)] | None
    ) = None

    @model_validator(mode="after")
    def _check(self) -> "GenerateRequest":
        if self.raw and (self.template or self.system or self.context):
            raise PydanticCustomError("raw", "raw mode does not support template, system, or context")
        if self.template:
            raise PydanticCustomError(
                "template",
                "Only the model's own template is supported: leave it out, or send a finished prompt with 'raw'",
                {FIELD: "template"},
            )
        if self.images and (self.is_text or self.context):
            raise PydanticCustomError(
                "images", "Images can be shown in a new conversation only", {FIELD: "images"}
            )
        if self.suffix and self.context:
            raise PydanticCustomError(
                "suffix", "Only in a text of its own is there a gap to fill", {FIELD: "suffix"}
            )
        for name, text in (("prompt", self.prompt), ("suffix", self.suffix), ("system", self.system)):
            if text and is_too_large(text):
                raise PydanticCustomError("too_large", "{words}", {"words": too_large(), FIELD: name})
        if are_too_many_pixels([image.data for image in self.images or ()]):
            words = f"They have more than {MAX_TOTAL_PIXELS:,} pixels together"
            raise PydanticCustomError("images", "{words}", {"words": words, FIELD: "images"})
        return self

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to answer."""
        return not self.prompt

    @property
    def is_text(self) -> bool:
        """Whether the prompt is a text to go on with, and no conversation."""
        return bool(self.raw or self.suffix)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation that the prompt stands for."""
        prompt = self.prompt or ""
        said = Message(Role.USER, prompt, parts=shown(self.images, prompt))
        return (Message(Role.SYSTEM, self.system), said) if self.system else (said,)

    def to_asked(self, prompt: tuple[int, ...] = ()) -> Asked:
        """Say the same in the words of engines; `prompt` has the tokens of a conversation that goes on with others."""
        form = form_of(self.format)
        if self.context:
            return Completion((*self.context, *prompt), self.sampling, form)
        if self.is_text:
            return Completion(self.prompt or "", self.sampling, form, self.suffix or "")
        return Generation(self.messages, self.sampling, form, thinking=self.thinking)
