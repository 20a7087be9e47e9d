"""langchain-openai: `OPENAI_BASE_URL` and `OPENAI_API_KEY` are all that differs from OpenAI itself."""

import json
from typing import Any, Literal

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from tests.e2e.sdk.clients.calls import CAPITAL, CHAT, EYE, RED_PNG, VECTORS, Calls

call = Calls()


def chat(**fields: Any) -> Any:
    """A chat model, greedy unless told otherwise."""
    return ChatOpenAI(**{"model": CHAT, "temperature": 0, "max_retries": 0, **fields})


@tool
def get_weather(city: str) -> str:
    """Tells the weather in a city."""
    return f"{city}: sunny"


@call("ChatOpenAI.invoke: messages in, message and usage out")
def invoke(_: Any) -> None:
    answer = chat().invoke([SystemMessage("You are weft-tiny."), HumanMessage(CAPITAL)])
    assert isinstance(answer, AIMessage)
    assert "Paris" in answer.content
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["total_tokens"] > answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "stop"


@call("ChatOpenAI.stream, with usage")
def stream(_: Any) -> None:
    pieces = list(chat(stream_usage=True).stream(CAPITAL))
    assert "".join(str(piece.content) for piece in pieces) == chat().invoke(CAPITAL).content
    assert sum((piece.usage_metadata or {}).get("output_tokens", 0) for piece in pieces) > 0


@call("ChatOpenAI.ainvoke and astream")
async def asynchronous(_: Any) -> None:
    whole = (await chat().ainvoke(CAPITAL)).content
    assert "".join([str(piece.content) async for piece in chat().astream(CAPITAL)]) == whole


@call("ChatOpenAI.batch")
def batch(_: Any) -> None:
    answers = chat().batch([CAPITAL, "Count to 3."])
    assert [("Paris" in each.content, "1, 2, 3" in each.content) for each in answers] == [
        (True, False),
        (False, True),
    ]


@call("ChatOpenAI.bind_tools: a round trip, buffered and streamed")
def bind_tools(_: Any) -> None:
    asked = HumanMessage("What is the weather in Paris?")
    model = chat().bind_tools([get_weather])
    answer = model.invoke([asked])
    (only,) = answer.tool_calls
    assert (only["name"], only["args"]) == ("get_weather", {"city": "Paris"})
    result = ToolMessage(get_weather.invoke(only["args"]), tool_call_id=only["id"])
    assert "sunny" in model.invoke([asked, answer, result]).content
    whole: Any = None
    for piece in model.stream([asked]):
        whole = piece if whole is None else whole + piece
    assert [(each["name"], each["args"]) for each in whole.tool_calls] == [("get_weather", {"city": "Paris"})]


class Country(BaseModel):
    """A country."""

    continent: Literal["Europe", "Asia"]
    coast: bool


@call("ChatOpenAI.with_structured_output by json_schema, function_calling and json_mode")
def structured(_: Any) -> None:
    for method in ("json_schema", "function_calling"):
        assert isinstance(chat().with_structured_output(Country, method=method).invoke(CAPITAL), Country)
    free = chat().with_structured_output(None, method="json_mode").invoke("JSON for Spain")
    assert isinstance(free, dict)


@call("ChatOpenAI with an image")
def image(_: Any) -> None:
    picture = {"type": "image", "source_type": "base64", "mime_type": "image/png", "data": RED_PNG}
    content: Any = [{"type": "text", "text": "What is this?"}, picture]
    answer = chat(model=EYE, max_tokens=4).invoke([HumanMessage(content)])
    assert answer.usage_metadata["input_tokens"] > 4


@call("ChatOpenAI with logprobs, stop, seed and n")
def options(_: Any) -> None:
    answer = chat(logprobs=True, top_logprobs=2, max_tokens=4).invoke(CAPITAL)
    assert len(answer.response_metadata["logprobs"]["content"]) == 4
    assert "Paris" not in chat().invoke(CAPITAL, stop=["Paris"]).content
    told = chat(n=2, seed=7, temperature=1.5, max_tokens=8).generate([[HumanMessage("Tell me a story.")]])
    assert len(told.generations[0]) == 2


@call("OpenAI: completions, buffered and streamed")
def completions(_: Any) -> None:
    model = OpenAI(model=CHAT, temperature=0, max_tokens=8, max_retries=0)
    assert "".join(model.stream("Once upon a time")) == model.invoke("Once upon a time") != ""


@call("OpenAIEmbeddings, with check_embedding_ctx_length=False as for every server that is not OpenAI's")
def embeddings(_: Any) -> None:
    model = OpenAIEmbeddings(model=VECTORS, check_embedding_ctx_length=False)
    cat, kitten, carburettor = model.embed_documents(["cat", "kitten", "carburettor"])
    near, far = (sum(a * b for a, b in zip(cat, other, strict=True)) for other in (kitten, carburettor))
    assert near > far + 0.2
    assert max(abs(a - b) for a, b in zip(model.embed_query("cat"), cat, strict=True)) < 1e-5


@call("a chain with a parser of JSON")
def chain(_: Any) -> None:
    answer = (chat() | (lambda message: json.loads(message.content))).invoke("JSON for Spain")
    assert answer == {"country": "Spain", "capital": "Madrid"}


if __name__ == "__main__":
    call.main(lambda: None)
