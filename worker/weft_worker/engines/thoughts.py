"""What chat templates say of models that think, and what they are told."""

from collections.abc import Mapping

from weft_worker.engines.base import Thinking


def template_switches(thinking: Thinking | None) -> Mapping[str, object]:
    """What templates know the switch by; each of them has one of these names. Empty leaves it to them."""
    if thinking is None:
        return {}
    effort = {"reasoning_effort": str(thinking.effort)} if thinking.enabled and thinking.effort else {}
    return {"enable_thinking": thinking.enabled, "thinking": thinking.enabled, **effort}
