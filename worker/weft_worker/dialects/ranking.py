"""What every dialect does with scores."""

from collections.abc import Sequence

from weft_worker.engines.abilities import Score


def best_first(scores: Sequence[Score], top_n: int | None) -> Sequence[tuple[int, float]]:
    """Give documents by their places in the request with their scores; equal ones stay in their order."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index].score)
    return [(index, scores[index].score) for index in order[:top_n]]
