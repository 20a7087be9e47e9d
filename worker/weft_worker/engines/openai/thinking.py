"""The switch of thoughts as templates know it, and the effort as OpenAI does, where they say anything."""

from collections.abc import Mapping

from weft_worker.engines.base import Asked, Generation
from weft_worker.engines.openai.manners import Manners

# Of its chat template, as vLLM, SGLang and llama.cpp have it.
_SWITCHES, _EFFORT = "chat_template_kwargs", "reasoning_effort"


def thinking_fields(asked: Asked) -> Mapping[str, str]:
    """Name the fields that what is asked needs, with what they say."""
    thinking = asked.thinking if isinstance(asked, Generation) else None
    if thinking is None:
        return {}
    effort = (thinking.effort and str(thinking.effort)) if thinking.enabled else "none"
    return {_SWITCHES: str(thinking.enabled).lower()} | ({_EFFORT: effort} if effort else {})


def encode_thinking(asked: Asked, manners: Manners) -> dict[str, object]:
    """Write those of them that the upstream takes."""
    fields = {field: value for field, value in thinking_fields(asked).items() if manners.takes(field, value)}
    encoded: dict[str, object] = dict(fields)
    if _SWITCHES in fields:
        is_on = fields[_SWITCHES] == "true"
        encoded[_SWITCHES] = {"enable_thinking": is_on, "thinking": is_on}
    return encoded
