"""How Ollama's lists describe models: pure, exact in shape."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import PurePosixPath

import orjson

from weft_common.remote_backends import upstream_sees
from weft_gateway.model_context import context_of
from weft_gateway.model_tags import LATEST
from weft_proto.pb.weft.types.v1 import model_pb2

VERSION = "0.13.0"
"""Of Ollama: its API as of then is what is spoken here; some clients ask for a least version."""

# What Ollama tells of a model that stays for ever: its longest duration from now on.
_FOR_EVER = timedelta(days=292 * 365)


@dataclass(frozen=True, slots=True)
class Running:
    """A model that is loaded, with all of its replicas: bytes, and the moment when the last one goes, or infinity."""

    model: model_pb2.Model
    size_bytes: int
    device_bytes: int
    """How much of it is memory of GPUs."""
    expiry: float


def tags_object(models: Sequence[model_pb2.Model]) -> dict[str, object]:
    """Describe all models."""
    return {"models": [_tag(model) for model in models]}


def show_object(model: model_pb2.Model) -> dict[str, object]:
    """Describe one model; what its file does not tell is empty."""
    return {
        "license": "",
        "modelfile": f"FROM {PurePosixPath(model.path).name}\nPARAMETER num_ctx {context_of(model)}\n",
        "parameters": f"num_ctx                        {context_of(model)}",
        "template": "",
        "details": _details(model),
        "model_info": _info(model),
        "capabilities": _capabilities(model),
        "modified_at": _time(model.created_seconds),
    }


def running_object(running: Sequence[Running], now: float) -> dict[str, object]:
    """Describe what is loaded; `now` in seconds since 1970, as expiries are."""
    return {"models": [_process(one, now) for one in running]}


def unloaded_body(path: str, model: str, now: float) -> bytes:
    """Answer a request at that path, /api/chat or /api/generate, to let a model go that is not there."""
    is_chat = path.partition("?")[0].endswith("chat")
    said: dict[str, object] = {"response": ""}
    if is_chat:
        said = {"message": {"role": "assistant", "content": ""}}
    at = _written(datetime.fromtimestamp(now, UTC))
    return orjson.dumps({"model": model, "created_at": at, **said, "done": True, "done_reason": "unload"})


def name_of(model: model_pb2.Model) -> str:
    """A model's name as Ollama writes it: with a tag."""
    return model.name if ":" in model.name else model.name + LATEST


def _tag(model: model_pb2.Model) -> dict[str, object]:
    return {
        "name": name_of(model),
        "model": name_of(model),
        "modified_at": _time(model.created_seconds),
        "size": model.size_bytes,
        "digest": _digest(model),
        "details": _details(model),
    }


def _process(running: Running, now: float) -> dict[str, object]:
    model = running.model
    until = (
        datetime.fromtimestamp(now, UTC) + _FOR_EVER
        if running.expiry == inf
        else datetime.fromtimestamp(running.expiry, UTC)
    )
    return {
        "name": name_of(model),
        "model": name_of(model),
        "size": running.size_bytes,
        "digest": _digest(model),
        "details": _details(model),
        "expires_at": _written(until),
        "size_vram": running.device_bytes,
        "context_length": context_of(model),
    }


def _details(model: model_pb2.Model) -> dict[str, object]:
    family = _family(model)
    return {
        "parent_model": "",
        "format": model.about.format,
        "family": family,
        "families": [family],
        "parameter_size": model.about.parameter_size,
        "quantization_level": model.about.quantization,
    }


def _family(model: model_pb2.Model) -> str:
    """What its files call it; of a model that runs elsewhere only its engine is known."""
    return model.about.architecture or model.backend


def _info(model: model_pb2.Model) -> dict[str, object]:
    """Clients look for the context below the architecture's name; theirs is what is served, not what was trained."""
    family = _family(model)
    info: dict[str, object] = {
        "general.architecture": family,
        f"{family}.context_length": context_of(model),
    }
    if model.about.embedding_size:
        info[f"{family}.embedding_length"] = model.about.embedding_size
    return info


def _capabilities(model: model_pb2.Model) -> list[str]:
    if model.purpose == model_pb2.MODEL_PURPOSE_EMBEDDING:
        return ["embedding"]
    if model.purpose == model_pb2.MODEL_PURPOSE_RERANKING:
        return ["rerank"]
    sees = "mmproj" in model.options or upstream_sees(model.backend, model.options)
    can = {"vision": sees, "thinking": model.about.thinks}
    return ["completion", "tools", *(name for name, does in can.items() if does)]


def _digest(model: model_pb2.Model) -> str:
    """Changes with whatever of its model file an engine reads."""
    return hashlib.sha256(f"{model.name}\n{model.revision}".encode()).hexdigest()


def _time(seconds: int) -> str:
    return _written(datetime.fromtimestamp(seconds, UTC))


def _written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"
