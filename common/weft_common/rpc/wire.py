"""What both sides of a call agree on: limits, and messages of either kind as bytes."""

import asyncio
from typing import Any

# 64 MiB for a body, and room for the headers that Check carries beside it: what is above the limit is refused by us.
MESSAGE_BYTES = 64 * 1024 * 1024 + 256 * 1024
# A status may say an error twice and once more in the caller's dialect; grpc's 8 KiB are too few for that.
METADATA_BYTES = 64 * 1024

LIMITS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_metadata_size", METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES),
)


def to_bytes(message: Any) -> bytes:
    """Serialise a betterproto2 or upb message; bytes pass as they are."""
    if isinstance(message, bytes):
        return message
    raw: bytes = message.SerializeToString()
    return raw


def cancelled_from_outside() -> bool:
    """Tell whether this task was cancelled; waiting for something that was raises CancelledError as well."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
