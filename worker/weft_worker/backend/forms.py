"""Forms of answers, checked before anything waits for a slot."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from weft_common.errors import FieldViolation, InvalidRequest
from weft_worker.engines.base import Asked, Generation, GrammarForm, JsonForm, ToolMode, Tools
from weft_worker.engines.forced_call import call_schema
from weft_worker.engines.gbnf_bounds import check_grammar
from weft_worker.engines.json_form import check_schema

# A schema may be long: it holds up no stream, nor what else needs a thread.
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="forms")
# How llama.cpp tells a grammar of another kind, which it does not check before it answers without any.
_OTHER_KIND = "%llguidance"


async def check_forms(asked: Asked, field: str) -> None:
    """Raise InvalidRequest that names what of a form cannot be kept; `field` is what the caller calls it."""
    form, tools = asked.form, asked.tools if isinstance(asked, Generation) else None
    may_call = tools is not None and tools.mode is not ToolMode.NONE
    if isinstance(form, GrammarForm) and may_call:
        raise _refused("grammar", "Where tools may be called, the answer can have no grammar of its own")
    if isinstance(form, GrammarForm) and form.grammar.lstrip().startswith(_OTHER_KIND):
        raise _refused("grammar", "Only grammars in the engine's own notation are taken")
    if isinstance(form, GrammarForm):
        await _check_grammar(form.grammar)
    if isinstance(form, JsonForm):
        await _checked(form.schema, field)
    is_held = form is not None or (tools is not None and tools.mode is ToolMode.REQUIRED)
    if tools is not None and may_call and is_held:
        await _check_tools(tools)


async def _check_grammar(grammar: str) -> None:
    try:
        await asyncio.get_running_loop().run_in_executor(_THREADS, check_grammar, grammar)
    except ValueError as error:
        raise _refused("grammar", f"The grammar cannot be kept: {error}") from error


async def _check_tools(tools: Tools) -> None:
    for index, tool in enumerate(tools.tools):
        if tool.parameters:
            await _checked(tool.parameters, f"tools.{index}")
    await _checked(call_schema(tools), "tools")


async def _checked(schema: str, field: str) -> None:
    await asyncio.get_running_loop().run_in_executor(_THREADS, check_schema, schema, field)


def _refused(field: str, words: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {words}.", violations=[FieldViolation(field, words)])
