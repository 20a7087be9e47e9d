"""When an idle replica will be unloaded, as far as a gateway can tell: pure.

Said, in this order, by the latest request to it that said so, by its model's policy, and by the fleet's setting; its
node may allow less. What is pinned or needed for a policy's minimum stays, whatever they say.
"""

from dataclasses import dataclass
from math import inf

from weft_proto.pb.weft.types.v1 import model_pb2, node_pb2, policy_pb2, replica_pb2

# Of models of which nobody says anything, what is slow to load is unloaded late, as the router has it.
_LOAD_FACTOR = 10.0


@dataclass(frozen=True, slots=True)
class Stay:
    """Who has a say on how long a replica stays; durations in seconds, below 0 for ever."""

    model: model_pb2.Model
    replica: replica_pb2.Replica
    node: node_pb2.Node
    policy: policy_pb2.Policy | None
    said: float | None
    """What the latest request that said so wished."""
    default: float
    """What the fleet's setting says; infinite for ever."""

    def seconds(self) -> float:
        """How long it may be idle; infinite for ever."""
        policy = self.policy
        if self.model.pinned or (policy is not None and (policy.min_replicas or policy.spread_all)):
            return inf
        stay = self._wished()
        if self.node.HasField("idle_limit"):
            stay = min(stay, self.node.idle_limit.ToMilliseconds() / 1000)
        return stay

    def _wished(self) -> float:
        if self.said is not None:
            return _endless(self.said)
        if self.policy is not None and self.policy.HasField("keep_alive"):
            return _endless(self.policy.keep_alive.ToMilliseconds() / 1000)
        load = self.replica.load_duration.ToMilliseconds() / 1000
        return max(_endless(self.default), _LOAD_FACTOR * load)


def _endless(seconds: float) -> float:
    return inf if seconds < 0 else seconds
