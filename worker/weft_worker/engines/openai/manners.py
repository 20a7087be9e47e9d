"""How an upstream wants to be spoken to, as far as its refusals have told."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

# In the words of OpenAI, pydantic (vLLM, SGLang, Mistral), Go's JSON (Ollama), Groq.
_OF_VALUE = re.compile(
    r"(unsupported|invalid)[_ ]value|literal_error|\benum\b|input should be|(must|should|has to) be (one of|either)"
    r"|(supported|allowed|accepted|valid|possible) (values|options)|supported:",
    re.IGNORECASE,
)
_OF_FIELD = re.compile(
    r"(unsupported|unknown)_parameter|extra_forbidden|extra (inputs|fields)"
    r"|(unsupported|unknown|unrecognized|unexpected) (request )?(parameter|argument|field|keyword)"
    r"|\b(chat_template_kwargs|reasoning_effort)['\"`]? (is|are) not (supported|permitted|allowed)"
    r"|does not support (the )?(parameter )?['\"`]?(chat_template_kwargs|reasoning_effort)",
    re.IGNORECASE,
)
# Ollama's, of models that cannot think, and of a value that is none of theirs; neither names the field.
_NO_THINKING = "does not support thinking"
_OF_EFFORT = re.compile(rf"reasoning_effort|{_NO_THINKING}|\b(think|reasoning) value")


@dataclass(frozen=True, slots=True)
class Manners:
    """What an upstream turned out not to take, so that the next request is right at once."""

    tells_usage: bool = True
    limit_field: str = "max_tokens"
    refused: frozenset[str] = frozenset()
    """Fields that are left out, `field` whatever it says and `field=value` where it says that."""
    spared: frozenset[str] = frozenset()
    """Fields that only the present request goes without: why they were refused could not be told."""

    def takes(self, field: str, value: str) -> bool:
        """Whether a request may have this field, with this value."""
        return not {field, f"{field}={value}"} & (self.refused | self.spared)

    def after(self, about: str, optional: Mapping[str, str]) -> "Manners":
        """Learn from what a refusal is about; the same where it says nothing of this.

        `optional` are the fields that a request wants and can do without, with their values.
        """
        if self.tells_usage and ("stream_options" in about or "include_usage" in about):
            return replace(self, tells_usage=False)
        if self.limit_field == "max_tokens" and "max_completion_tokens" in about:
            return replace(self, limit_field="max_completion_tokens")
        for field, value in optional.items():
            if self.takes(field, value) and _is_about(field, about):
                return self._without(field, value, about)
        return self

    def joined(self, other: "Manners") -> "Manners":
        """Leave out what either has learned to leave out of all requests."""
        limit_field = other.limit_field if self.limit_field == "max_tokens" else self.limit_field
        return Manners(
            self.tells_usage and other.tells_usage, limit_field, frozenset(self.refused | other.refused)
        )

    def _without(self, field: str, value: str, about: str) -> "Manners":
        """A value that is refused says nothing of others, which stay what callers asked for."""
        if _OF_VALUE.search(about) or re.search(rf"['\"`]{re.escape(value)}['\"`]", about):
            return replace(self, refused=self.refused | {f"{field}={value}"})
        if _OF_FIELD.search(about) or _NO_THINKING in about:
            return replace(self, refused=self.refused | {field})
        return replace(self, spared=self.spared | {field})


def _is_about(field: str, about: str) -> bool:
    return field in about or (field == "reasoning_effort" and _OF_EFFORT.search(about) is not None)
