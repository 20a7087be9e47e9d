"""What the text of an answer is held to, by its own form and by the tools that it may or has to call."""

from dataclasses import dataclass, replace

from weft_worker.engines.base import Asked, Form, Generation, JsonForm, Sampling, ToolMode, Tools
from weft_worker.engines.forced_call import call_schema


@dataclass(frozen=True, slots=True)
class JsonOrCalls:
    """JSON after `schema`, or calls of tools as `SpokenCalls` reads them, each an object after `call_schema`."""

    schema: str
    call_schema: str
    single_call: bool


HeldForm = Form | JsonOrCalls


def held_form(asked: Asked) -> HeldForm | None:
    """Of an answer that has to be a call its own form does not matter: it has no text."""
    tools = shown_tools(asked)
    if tools is None:
        return asked.form
    if tools.mode is ToolMode.REQUIRED:
        return JsonForm(call_schema(tools))
    if isinstance(asked.form, JsonForm):
        return JsonOrCalls(asked.form.schema, call_schema(tools), tools.single_call)
    return asked.form


def held_sampling(asked: Asked) -> Sampling:
    """How to choose tokens, without what cannot go with what the answer is held to.

    A form has an end, beyond which nothing keeps it. The JSON of a call that has to be made is no text: a stop string
    in it would leave half a call.
    """
    sampling, tools = asked.sampling, shown_tools(asked)
    if tools is not None and tools.mode is ToolMode.REQUIRED:
        return replace(sampling, ignore_eos=False, stop=())
    return sampling if held_form(asked) is None else replace(sampling, ignore_eos=False)


def shown_tools(asked: Asked) -> Tools | None:
    """The tools that a template writes down: those that may not be called would only tempt the model."""
    tools = asked.tools if isinstance(asked, Generation) else None
    return None if tools is None or tools.mode is ToolMode.NONE else tools
