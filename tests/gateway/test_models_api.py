"""OpenAI's and Anthropic's models, by the names that clients have for them."""

from typing import Any

import orjson
import pytest

from tests.gateway.builders import a_full_update, a_view
from weft_common.clock import ManualClock
from weft_common.errors import ModelNotFound
from weft_common.rpc.context import CallContext, call_scope
from weft_gateway.models_api import OpenAIModels
from weft_proto.pb.weft.dialect.v1.openai_service_pb2 import GetModelRequest


async def ask(name: str, **metadata: str) -> Any:
    view = a_view(ManualClock())
    view.apply(a_full_update())
    with call_scope(CallContext({key.replace("_", "-"): value for key, value in metadata.items()})):
        return orjson.loads((await OpenAIModels(view).get_model(GetModelRequest(id=name))).data)


@pytest.mark.parametrize("name", ["m", "m:latest"])
async def test_a_model_is_told_by_the_name_that_was_asked_for(name: str) -> None:
    told = await ask(name)
    assert (told["id"], told["object"]) == (name, "model")


async def test_anthropics_clients_learn_what_an_alias_stands_for() -> None:
    assert (await ask("m:latest", anthropic_version="2023-06-01"))["id"] == "m"


async def test_of_an_unknown_model_it_is_told_how_it_was_asked_for() -> None:
    with pytest.raises(ModelNotFound, match="'missing:latest'"):
        await ask("missing:latest")
