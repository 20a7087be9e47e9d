"""Which replica still has the beginning of a prompt in its cache, and whether it may be preferred for it.

A prompt is known by hashes of its first blocks, each of which covers everything before it, so that one number tells
a whole prefix. A replica is preferred for the longest prefix that it saw lately, unless it has too much to do beside
the least busy one: a warm cache saves less than a queue costs (llm-d#1290, sglang#14305).
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from weft_common.choice import C

BLOCK_BYTES = 256
MAX_BLOCKS = 64
_HASH_BYTES = 8


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


def hash_chain(model: str, prompt: bytes, key: bytes = b"") -> tuple[bytes, ...]:
    """A hash for each whole block at the beginning of a prompt; `key` keeps outsiders from guessing prompts."""
    found = []
    above = model.encode()
    count = min(len(prompt) // BLOCK_BYTES, MAX_BLOCKS)
    for start in range(0, count * BLOCK_BYTES, BLOCK_BYTES):
        block = above + b"/" + prompt[start : start + BLOCK_BYTES]
        above = hashlib.blake2b(block, digest_size=_HASH_BYTES, key=key[:64]).digest()
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
    _holders: OrderedDict[bytes, dict[str, float]] = field(default_factory=OrderedDict)

    def observe(self, chain: Sequence[bytes], replica_id: str, now: float) -> None:
        """Note that a prompt went to a replica."""
        for block in chain:
            holders = self._holders.setdefault(block, {})
            self._holders.move_to_end(block)
            holders.pop(replica_id, None)
            holders[replica_id] = now
            if len(holders) > self.max_holders:
                del holders[next(iter(holders))]
        while len(self._holders) > self.max_blocks:
            self._holders.popitem(last=False)

    def prefer(
        self, candidates: Sequence[C], chain: Sequence[bytes], rules: AffinityRules, now: float
    ) -> C | None:
        """The candidate with the longest warm prefix that has little enough to do; None if none has."""
        if not chain or len(candidates) < 2:
            return None
        fewest = min(c.in_flight_count for c in candidates)
        permitted = {c.replica_id: c for c in candidates if rules.permits(c.in_flight_count, fewest)}
        for depth in range(len(chain), 0, -1):
            if depth < len(chain) * rules.min_prefix_match:
                return None
            warm = self._warm(chain[depth - 1], now) & permitted.keys()
            if warm:
                return min((permitted[i] for i in warm), key=lambda c: (c.in_flight_count, c.replica_id))
        return None

    def _warm(self, block: bytes, now: float) -> set[str]:
        holders = self._holders.get(block, {})
        return {i for i, seen in holders.items() if now - seen <= self.ttl_seconds}

    def __len__(self) -> int:
        return len(self._holders)
