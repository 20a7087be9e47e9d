"""llama.cpp's own request and chunks: plain data in, plain data out."""

from base64 import b64encode
from collections.abc import Mapping
from typing import assert_never

import orjson

from weft_common.errors import InvalidRequest
from weft_worker.engines.abilities import Conversation
from weft_worker.engines.base import (
    Asked,
    Completion,
    Generation,
    GrammarForm,
    Image,
    JsonForm,
    Message,
    Role,
    Sampling,
    Thinking,
    Tool,
    ToolCall,
)
from weft_worker.engines.forms import HeldForm, JsonOrCalls, held_form, held_sampling, shown_tools
from weft_worker.engines.json_form import lark_choice, lark_grammar
from weft_worker.engines.llamacpp.plain_tools import may_be_endless, plain_parameters, readable
from weft_worker.engines.thoughts import template_switches

# llama.cpp takes 32 bits and reads the highest value as "draw one".
_SEED_COUNT = 2**32 - 1
# The library keeps a ring of this size for each request that has a penalty.
_PENALTY_TOKENS = 32_768


def encode_request(generation: Generation, *, plain_tools: bool = False) -> str:
    """Write the body of a chat completion, always as a stream: otherwise it could not be cancelled.

    With `plain_tools` the library is told no more of tools than it can always read.
    """
    body: dict[str, object] = {
        "messages": [_message(message) for message in generation.messages],
        **_common(generation),
        **_tools(generation, plain=plain_tools),
        "chat_template_kwargs": template_switches(_thinking(generation)) or None,
    }
    try:
        return _written(body)
    except TypeError as error:
        raise InvalidRequest(f"The tools cannot be written as JSON: {error}.") from error


def encode_completion(completion: Completion) -> str:
    """Write the body of a completion; the same way."""
    prompt, top = completion.prompt, completion.sampling.top_logprobs
    return _written(
        {
            **_common(completion),
            "prompt": prompt if isinstance(prompt, str) else list(prompt),
            # Here it is their number.
            "logprobs": None if top is None else max(top, 1),
            "top_logprobs": None,
        }
    )


def _thinking(generation: Generation) -> Thinking | None:
    """A form leaves no room for thoughts."""
    return generation.thinking if held_form(generation) is None else Thinking(enabled=False)


def _common(asked: Asked) -> dict[str, object]:
    sampling = held_sampling(asked)
    return {
        "stream": True,
        "stream_options": {"include_usage": True},
        # Calls back during the prefill too, so that a client who leaves then frees the slot.
        "return_progress": True,
        # Has the last chunk tell which stop string was found.
        "verbose": bool(sampling.stop) or None,
        "grammar": _grammar(held_form(asked)),
        **_sampling(sampling),
    }


def _written(body: Mapping[str, object]) -> str:
    return orjson.dumps({key: value for key, value in body.items() if value is not None}).decode()


def encode_conversation(conversation: Conversation, *, plain_tools: bool = False) -> dict[str, object]:
    """A conversation as the library's templates take it; raises InvalidRequest."""
    try:
        tools = [_tool(tool, plain=plain_tools) for tool in conversation.tools]
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The tools cannot be read: {error}.") from error
    said = [_message(message) for message in conversation.messages]
    switches = template_switches(conversation.thinking)
    asked = {"messages": said, "tools": tools, "chat_template_kwargs": switches}
    return {key: value for key, value in asked.items() if value}


def _message(message: Message) -> dict[str, object]:
    content = [_part(part) for part in message.parts] if message.parts else message.content
    said: dict[str, object] = {"role": message.role, "content": content}
    if message.name:
        said["name"] = message.name
    if message.reasoning:
        said["reasoning_content"] = message.reasoning
    if message.tool_calls:
        said["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.role is Role.TOOL:
        said["tool_call_id"] = message.tool_call_id
    return said


def _part(part: str | Image) -> dict[str, object]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    url = f"data:{part.media_type};base64,{b64encode(part.data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _call(call: ToolCall) -> dict[str, object]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _tools(generation: Generation, *, plain: bool) -> dict[str, object]:
    offered = shown_tools(generation)
    if offered is None:
        return {}
    # What is held to a form is held by our grammar, and read by us: the template shows the tools all the same.
    is_free = held_form(generation) is None
    return {
        "tools": [_tool(tool, plain=plain) for tool in offered.tools],
        "tool_choice": "auto" if is_free else "none",
        "parallel_tool_calls": not offered.single_call if is_free else None,
    }


def _tool(tool: Tool, *, plain: bool = False) -> dict[str, object]:
    parameters = orjson.loads(tool.parameters) if tool.parameters else {"type": "object", "properties": {}}
    if plain:
        parameters = plain_parameters(parameters)
    elif may_be_endless(tool.parameters):
        parameters = readable(tool.parameters)
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _grammar(form: HeldForm | None) -> str | None:
    match form:
        case JsonForm():
            return lark_grammar(form.schema)
        case GrammarForm():
            return form.grammar
        case JsonOrCalls():
            return lark_choice(form.schema, form.call_schema, single_call=form.single_call)
        case None:
            return None
        case _:
            assert_never(form)


def _sampling(sampling: Sampling) -> dict[str, object]:
    penalised = sampling.frequency_penalty or sampling.presence_penalty or sampling.repetition_penalty
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": None if sampling.seed is None else sampling.seed % _SEED_COUNT,
        "max_tokens": sampling.max_tokens,
        "stop": list(sampling.stop) or None,
        "ignore_eos": sampling.ignore_eos or None,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
        "logit_bias": [[token, bias] for token, bias in sampling.logit_bias.items()] or None,
        "logprobs": sampling.top_logprobs is not None or None,
        # None at all are told where none of the others is asked for.
        "top_logprobs": None if sampling.top_logprobs is None else max(sampling.top_logprobs, 1),
        # OpenAI's penalties count over the whole text, llama.cpp's by default over 64 tokens.
        "repeat_last_n": _PENALTY_TOKENS if penalised else None,
    }
