"""grpc.reflection, v1 and v1alpha, from the descriptor set that `make gen` writes."""

from collections.abc import AsyncIterator, Sequence
from functools import cache
from importlib import resources
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import _async as reflection_aio
from grpc_reflection.v1alpha import reflection_pb2
from grpclib.const import Cardinality

from weft_common.rpc.serving import Method

SERVICE_NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def reflection_methods(listed: Sequence[str]) -> list[Method]:
    """Serve reflection that lists the given services and explains every symbol of the contract.

    grpcio-reflection has v1alpha only; v1 differs in nothing but the name, so that one servicer answers both.
    """
    servicer: Any = reflection_aio.ReflectionServicer(listed, pool=_pool())

    def answers(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        stream: AsyncIterator[Any] = servicer.ServerReflectionInfo(requests, None)
        return stream

    parse = reflection_pb2.ServerReflectionRequest.FromString
    return [
        Method(f"/{name}/ServerReflectionInfo", Cardinality.STREAM_STREAM, answers, parse)
        for name in SERVICE_NAMES
    ]


@cache
def _pool() -> DescriptorPool:
    """Make a pool of its own: the default one refuses a file that differs from what a upb class registered."""
    pool = DescriptorPool()
    contract = resources.files("weft_proto").joinpath("descriptors.binpb").read_bytes()
    alpha = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    health = FileDescriptorProto.FromString(health_pb2.DESCRIPTOR.serialized_pb)
    known = set()
    for file in (*FileDescriptorSet.FromString(contract).file, health, alpha, _v1(alpha)):
        if file.name not in known:
            pool.Add(file)
            known.add(file.name)
    return pool


def _v1(alpha: FileDescriptorProto) -> FileDescriptorProto:
    text = text_format.MessageToString(alpha).replace("v1alpha", "v1")
    return text_format.Parse(text, FileDescriptorProto())
