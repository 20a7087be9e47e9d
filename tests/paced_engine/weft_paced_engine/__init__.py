"""The engine `paced`: says `t0 t1 t2 …` at the pace, and with the failures, that it was told.

It runs in a real backend process behind the real contracts; the product ships no such thing.
"""

from weft_paced_engine.engine import PacedEngine

__all__ = ["PacedEngine"]
