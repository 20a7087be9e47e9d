"""REST calls mean what their path says: a body that names something else in a path's field is refused.

Envoy's transcoder lets a field of the body win over the same field of the path, so that `POST /api/nodes/a/drain` with
the id of `b` in its body would drain `b`; to whoever reads logs or restricts paths it would be `a`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import unquote

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpclib.const import Cardinality

from weft_common.errors import FieldViolation, InvalidRequest
from weft_common.rpc.context import current_call
from weft_common.rpc.serving import Method

# What Envoy's transcoder tells of the request that it made a call of; from outside it takes no such header.
_ORIGINAL_PATH = "x-envoy-original-path"
_VARIABLE = re.compile(r"\{(\w+)(=\*\*)?\}")


def true_to_path(method: Method) -> Method:
    """Have an rpc refuse messages that differ from the path that they were sent to; most rpcs stay as they are."""
    templates = _templates().get(method.path, ())
    if not templates or method.cardinality is not Cardinality.UNARY_UNARY:
        return method

    async def checked(message: Any) -> Any:
        path = current_call().metadata.get(_ORIGINAL_PATH)
        if path is not None:
            _require_same(message, bound_fields(path, templates))
        return await method.fn(message)

    return replace(method, fn=checked)


def bound_fields(path: str, templates: tuple[re.Pattern[str], ...]) -> Mapping[str, str]:
    """What a path says of fields; raises InvalidRequest where it is none of an rpc's paths."""
    bare = path.partition("?")[0].rstrip("/")
    found = next((m for t in templates if (m := t.fullmatch(bare))), None)
    if found is None:
        raise InvalidRequest(f"'{bare}' is not a path of this rpc.")
    return {name: unquote(value) for name, value in found.groupdict().items()}


def _require_same(message: Any, bound: Mapping[str, str]) -> None:
    different = [name for name, value in bound.items() if (getattr(message, name) or "") != value]
    if different:
        found = [FieldViolation(name, "the path names another one; leave it out here") for name in different]
        said = "; ".join(f"{v.field}: {v.description}" for v in found)
        raise InvalidRequest(said, violations=found)


@cache
def _templates() -> Mapping[str, tuple[re.Pattern[str], ...]]:
    """The paths of every rpc that takes one with fields and a body that could say them again."""
    raw = resources.files("weft_proto").joinpath("descriptors.binpb").read_bytes()
    rules = {
        f"/{file.package}.{service.name}/{rpc.name}": rpc.options.Extensions[annotations_pb2.http]
        for file in FileDescriptorSet.FromString(raw).file
        for service in file.service
        for rpc in service.method
    }
    return {path: found for path, rule in rules.items() if (found := _templates_of(rule))}


def _templates_of(rule: http_pb2.HttpRule) -> tuple[re.Pattern[str], ...]:
    bindings = (rule, *rule.additional_bindings)
    if not any(b.body and _VARIABLE.search(_path(b)) for b in bindings):
        return ()
    # The more variables, the later: /api/nodes/models/unload is not a path of a node called "models".
    paths = sorted((_path(b) for b in bindings), key=lambda path: path.count("{"))
    return tuple(_pattern(path) for path in paths)


def _path(rule: http_pb2.HttpRule) -> str:
    return str(getattr(rule, rule.WhichOneof("pattern") or "get"))


def _pattern(template: str) -> re.Pattern[str]:
    parts, end = [], 0
    for variable in _VARIABLE.finditer(template):
        parts.append(re.escape(template[end : variable.start()]))
        parts.append(f"(?P<{variable[1]}>{'.+' if variable[2] else '[^/]+'})")
        end = variable.end()
    return re.compile("".join([*parts, re.escape(template[end:])]))
