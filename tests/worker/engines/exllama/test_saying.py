"""What the text of an answer says: thoughts first, then text or calls, and the first of all tells of the prompt."""

from dataclasses import replace

from weft_worker.engines.base import (
    Delta,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    Sampling,
    Tool,
    ToolCallDelta,
    ToolMode,
    Tools,
    Usage,
)
from weft_worker.engines.exllama.batch import Order
from weft_worker.engines.exllama.prompts import Prepared
from weft_worker.engines.exllama.saying import Saying
from weft_worker.engines.spoken_thoughts import thoughts_after

_ORDER = Order((1, 2, 3), 9, Sampling(), (0,))
_END = Finished(FinishReason.STOP, Usage(3, 5, 1))
_PROMPT = Usage(3, 0)


def _said(prepared: Prepared, *texts: str) -> list[Event]:
    saying = Saying(prepared)
    return [*(event for text in texts for event in saying.read(Delta(text))), *saying.finish(_END)]


def test_plain_text_is_told_as_it_comes() -> None:
    assert _said(Prepared(_ORDER), "a", "b") == [Delta("a", prompt=_PROMPT), Delta("b"), _END]


def test_an_echo_comes_first() -> None:
    told = _said(Prepared(_ORDER, echo=Delta("said ", 0)), "a")
    assert told == [Delta("said ", 0, prompt=_PROMPT), Delta("a"), _END]


def test_calls_follow_thoughts() -> None:
    tools = Tools((Tool("f"),))
    prepared = Prepared(_ORDER, tools, thoughts_after("<|assistant|>\n<think>\n"))
    thought, call, end = _said(prepared, "hm </think>", '\n<tool_call>{"name": "f"}</tool_call>')
    assert thought == ReasoningDelta("hm", 1, _PROMPT)
    assert isinstance(call, ToolCallDelta)
    assert (call.name, call.arguments) == ("f", "{}")
    assert end == Finished(FinishReason.TOOL_CALLS, Usage(3, 5, 1, 1))


def test_a_thought_that_never_ends_is_the_whole_answer() -> None:
    told = _said(Prepared(_ORDER, thoughts=thoughts_after("<think>")), "so ", "on")
    assert "".join(each.text for each in told if isinstance(each, ReasoningDelta)) == "so on"
    assert not any(isinstance(each, Delta) for each in told)


_FORCED = '{"name": "f", "arguments": {"city": "Par'


def test_a_call_that_has_to_be_and_is_cut_off_is_told_to_its_last_letter() -> None:
    saying = Saying(Prepared(_ORDER, Tools((Tool("f"),), ToolMode.REQUIRED)))
    told = [*saying.read(Delta(_FORCED)), *saying.finish(replace(_END, reason=FinishReason.LENGTH))]
    assert "".join(each.arguments for each in told if isinstance(each, ToolCallDelta)) == '{"city": "Par'
    assert told[-1] == replace(_END, reason=FinishReason.LENGTH)
