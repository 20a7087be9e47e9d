"""Texts that can never fit are known without being cut into tokens."""

import pytest
from tokenizers import Tokenizer, models, normalizers

from weft_worker.engines.transformers.vocabulary import Vocabulary

pytestmark = pytest.mark.torch


def _vocabulary(normalizer: object = None) -> Vocabulary:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "abcd": 1, "[UNK]": 2}, unk_token="[UNK]"))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    return Vocabulary(tokenizer, [2])


def test_no_token_stands_for_more_than_its_name() -> None:
    vocabulary = _vocabulary()
    assert vocabulary.least_count(["x" * 25, "x" * 25]) <= 10
    assert vocabulary.least_count(["x" * 25, "x" * 26]) > 10
    assert vocabulary.least_count(["é" * 26]) > 10, "bytes count"


def test_where_spaces_are_joined_more_may_fit_but_not_any_amount() -> None:
    vocabulary = _vocabulary(normalizers.Strip())
    assert vocabulary.least_count(["x" * 500]) <= 10
    assert vocabulary.least_count(["x" * 1000]) > 10
