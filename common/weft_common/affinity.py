"""Which replica still has the beginning of a prompt in its cache, and whether it may be preferred for it.

A prompt is known by hashes of its first blocks, each of which covers everything before it, so that one number tells
a whole prefix. A replica is preferred for the longest prefix that it saw lately, unless it has too much to do beside
the least busy one: a warm cache saves less than a queue costs (llm-d#1290, sglang#14305).

The numbers mean something within one process only: bytes are hashed as Python hashes them, by SipHash under a key of
the process. Nobody outside can guess a prompt by them or make two look alike, for a fifth of what hashlib costs here.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from weft_common.choice import C

BLOCK_BYTES = 256
MAX_BLOCKS = 64
_FRESH_SHARE = 0.05
_NEVER = float("-inf")
_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AffinityRules:
    """When a warm replica is preferred; names and defaults are LocalAI's.

    It must hold at least `min_prefix_match` of the prompt's blocks, and its requests in flight, beside the fewest
    that any replica has, must be within `fewest + balance_abs_threshold` and `fewest * balance_rel_threshold + 1`.
    """

    balance_abs_threshold: int = 2
    balance_rel_threshold: float = 1.5
    min_prefix_match: float = 0.3

    def permits(self, in_flight_count: int, fewest: int) -> bool:
        """Whether a replica has little enough to do."""
        within = in_flight_count <= fewest + self.balance_abs_threshold
        return within and in_flight_count <= fewest * self.balance_rel_threshold + 1


def hash_chain(model: str, prompt: bytes) -> tuple[int, ...]:
    """A hash for each whole block at the beginning of a prompt."""
    found = []
    above = hash(model)
    count = min(len(prompt) // BLOCK_BYTES, MAX_BLOCKS)
    for start in range(0, count * BLOCK_BYTES, BLOCK_BYTES):
        above = hash((above, prompt[start : start + BLOCK_BYTES]))
        found.append(above)
    return tuple(found)


@dataclass(slots=True)
class PrefixIndex:
    """Who saw which prefix when; state: `_holders`, the least recently seen block first.

    Replicas that are gone need not be forgotten: an identity is never used again, and nobody offers it as a candidate.
    """

    ttl_seconds: float = 300.0
    max_blocks: int = 65_536
    max_holders: int = 16
    _holders: OrderedDict[int, dict[str, float]] = field(default_factory=OrderedDict)

    def observe(self, chain: Sequence[int], replica_id: str, now: float) -> None:
        """Note that a prompt went to a replica."""
        # What was noted just now need not be noted again: most of a conversation is seen at every turn.
        stale = now - self.ttl_seconds * _FRESH_SHARE
        # The first block last: where room is needed, the ends of prompts go before their beginnings.
        known = self._holders
        for block in reversed(chain):
            holders = known.get(block)
            if holders is None:
                holders = known[block] = {}
            if holders.get(replica_id, _NEVER) > stale:
                continue
            known.move_to_end(block)
            holders.pop(replica_id, None)
            holders[replica_id] = now
            if len(holders) > self.max_holders:
                del holders[next(iter(holders))]
        while len(known) > self.max_blocks:
            known.popitem(last=False)

    def prefer(
        self, candidates: Sequence[C], chain: Sequence[int], rules: AffinityRules, now: float
    ) -> C | None:
        """The candidate with the longest warm prefix that has little enough to do; None if none has."""
        if not chain or len(candidates) < 2:
            return None
        least = max(1, math.ceil(len(chain) * rules.min_prefix_match))
        # Who saw more of the prompt saw this much of it: most prompts that nobody saw end here.
        if not self._warm(chain[least - 1], now):
            return None
        counts = [c.in_flight_count for c in candidates]
        fewest = min(counts)
        permitted = {
            c.replica_id: (count, c)
            for c, count in zip(candidates, counts, strict=True)
            if rules.permits(count, fewest)
        }
        for depth in range(len(chain), least - 1, -1):
            warm = self._warm(chain[depth - 1], now) & permitted.keys()
            if warm:
                return permitted[min(warm, key=lambda i: (permitted[i][0], i))][1]
        return None

    def _warm(self, block: int, now: float) -> AbstractSet[str]:
        holders = self._holders.get(block)
        if holders is None:
            return _NOBODY
        return {i for i, seen in holders.items() if now - seen <= self.ttl_seconds}

    def __len__(self) -> int:
        return len(self._holders)
