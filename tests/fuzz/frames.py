"""Messages of weft.inference.v1 that were right until something happened to them; a seed and a number name one."""

import random
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb

_TEXTS = ("", " ", "\x00", "é̂👩‍🚀", "<|im_end|>", "a" * 5_000, "{", '{"type": 7}', "root ::= root", "nobody")
_NUMBERS = (0, 1, -1, 7, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63))
_FLOATS = (0.0, -1.0, 1e38, float("nan"), float("inf"), float("-inf"), 0.5, 1e-38)


def mutated_frame(seed: int, number: int, messages: tuple[Message, ...]) -> bytes:
    """The bytes of this seed and number, out of one of those messages that are right."""
    draw = random.Random(f"{seed}/{number}")
    message = type(chosen := draw.choice(messages))()
    message.CopyFrom(chosen)
    for _ in range(draw.choice((1, 1, 2, 3))):
        _bend(draw, draw.choice(list(_inside(message))))
    raw = message.SerializeToString()
    return _broken(draw, raw) if draw.random() < 0.3 else raw


def _inside(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE or field.message_type.GetOptions().map_entry:
            continue
        for each in value if field.is_repeated else [value]:
            yield from _inside(each)


def _bend(draw: random.Random, message: Message) -> None:
    field = draw.choice(message.DESCRIPTOR.fields)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return
    if draw.random() < 0.2:
        message.ClearField(field.name)
    elif field.is_repeated:
        repeated: Any = getattr(message, field.name)
        for _ in range(draw.choice((1, 2, 20))):
            if field.message_type is not None:
                repeated.add()
            else:
                repeated.append(_value(draw, field))
    elif field.message_type is not None:
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, _value(draw, field))


def _value(draw: random.Random, field: FieldDescriptor) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        text = draw.choice(_TEXTS)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return draw.choice(_FLOATS)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return draw.random() < 0.5
    low, high = {
        FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
        FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
        FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
        FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
    }.get(kind, (-(2**63), 2**63 - 1))
    return min(max(draw.choice(_NUMBERS), low), high)


def _broken(draw: random.Random, raw: bytes) -> bytes:
    at = draw.randrange(len(raw) + 1)
    byte = bytes([draw.randrange(256)])
    return draw.choice(
        (raw[:at], raw[:at] + byte + raw[at:], raw[:at] + byte + raw[at + 1 :], raw + raw, b"")
    )


def right_messages(chat: str, vectors: str) -> dict[str, tuple[Message, ...]]:
    """Messages that use all fields, by rpc."""
    sampling = pb.Sampling(
        temperature=0.5,
        top_p=0.9,
        seed=1,
        max_tokens=4,
        stop=["x"],
        top_k=5,
        min_p=0.1,
        repetition_penalty=1.1,
    )
    user = pb.Message(role=pb.ROLE_USER, content="Hello")
    call = pb.ToolCall(id="1", name="get_weather", arguments="{}")
    tool = pb.Tool(name="get_weather", parameters_schema='{"type": "object"}')
    turns = [
        user,
        pb.Message(role=pb.ROLE_ASSISTANT, tool_calls=[call]),
        pb.Message(role=pb.ROLE_TOOL, tool_call_id="1", content="sunny"),
    ]
    conversation = pb.Conversation(messages=turns, tools=[tool])
    return {
        "Chat": (
            pb.ChatRequest(model=chat, messages=[user], sampling=sampling),
            pb.ChatRequest(model=chat, messages=turns, tools=[tool], sampling=sampling),
        ),
        "Complete": (pb.CompleteRequest(model=chat, text="Once", sampling=sampling),),
        "Embed": (pb.EmbedRequest(model=vectors, inputs=[pb.EmbedInput(text="cat")] * 2, dimensions=8),),
        "Rerank": (pb.RerankRequest(model=vectors, query="cat", documents=["kitten", "car"], top_n=1),),
        "Tokenize": (
            pb.TokenizeRequest(model=chat, text="Hello", with_pieces=True),
            pb.TokenizeRequest(model=chat, conversation=conversation),
        ),
    }
