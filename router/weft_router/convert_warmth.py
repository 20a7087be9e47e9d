"""What keeps models loaded, between policies and their messages."""

from datetime import timedelta
from math import inf
from typing import TypedDict

import weft_proto.weft.types.v1 as types
from weft_proto.pb.weft.types.v1 import node_pb2, policy_pb2
from weft_router.fleet.policy import Policy
from weft_router.fleet.windows import WarmWindow


class Warmth(TypedDict):
    """The fields of a policy, and of an edit of one."""

    keep_alive_seconds: float | None
    warm_windows: tuple[WarmWindow, ...]
    prewarm: bool | None


def put_warmth(message: policy_pb2.Policy, policy: Policy) -> None:
    """Write what keeps a model loaded into its policy's message."""
    if policy.keep_alive_seconds == inf:
        message.keep_alive.FromSeconds(-1)
    elif policy.keep_alive_seconds is not None:
        message.keep_alive.FromMicroseconds(int(policy.keep_alive_seconds * 1e6))
    for window in policy.warm_windows:
        added = message.warm_windows.add(
            cron=window.cron, min_replicas=window.min_replicas, time_zone=window.time_zone
        )
        added.duration.FromMicroseconds(int(window.seconds * 1e6))
    if policy.prewarm is not None:
        message.prewarm = policy.prewarm


def warmth_of(message: policy_pb2.Policy) -> Warmth:
    """Read it again."""
    said = message.keep_alive.ToTimedelta() if message.HasField("keep_alive") else None
    return Warmth(
        keep_alive_seconds=keep_alive(said),
        warm_windows=tuple(
            WarmWindow(w.cron, w.duration.ToMicroseconds() / 1e6, w.min_replicas or 1, w.time_zone)
            for w in message.warm_windows
        ),
        prewarm=message.prewarm if message.HasField("prewarm") else None,
    )


def keep_alive(said: timedelta | None) -> float | None:
    """A keep-alive in seconds; less than 0 is for ever."""
    if said is None:
        return None
    return inf if said < timedelta(0) else said.total_seconds()


def window(message: types.WarmWindow) -> WarmWindow:
    """A window as an admin sent it."""
    seconds = message.duration.total_seconds() if message.duration else 0.0
    return WarmWindow(message.cron, seconds, message.min_replicas or 1, message.time_zone)


def put_idle_limit(message: node_pb2.Node, seconds: float) -> None:
    """Write how long replicas may be idle on a node into its message."""
    if seconds != inf:
        message.idle_limit.FromMicroseconds(int(seconds * 1e6))


def idle_limit_of(message: node_pb2.Node) -> float:
    """Read it again."""
    return message.idle_limit.ToMicroseconds() / 1e6 if message.HasField("idle_limit") else inf
