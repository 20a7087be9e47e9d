"""What can be asked of which model."""

import pytest

from weft_common.errors import InvalidRequest
from weft_common.purposes import Ability, Purpose, require_ability


@pytest.mark.parametrize(
    ("purpose", "abilities"),
    [
        (Purpose.CHAT, {Ability.CHAT, Ability.COMPLETE, Ability.TOKENIZE}),
        (Purpose.EMBEDDING, {Ability.EMBED, Ability.RERANK, Ability.TOKENIZE}),
        (Purpose.RERANKING, {Ability.RERANK, Ability.TOKENIZE}),
    ],
)
def test_a_model_does_what_it_is_for_and_refuses_the_rest(purpose: Purpose, abilities: set[Ability]) -> None:
    for ability in Ability:
        if ability in abilities:
            require_ability("m", purpose, ability)
        else:
            with pytest.raises(InvalidRequest, match="The model 'm'") as refused:
                require_ability("m", purpose, ability)
            assert [violation.field for violation in refused.value.violations] == ["model"]


def test_a_refusal_says_what_the_model_is_for_and_which_models_are_for_this() -> None:
    with pytest.raises(
        InvalidRequest, match=r"answers conversations and cannot make embeddings.*embeddings: true"
    ):
        require_ability("weft-tiny", Purpose.CHAT, Ability.EMBED)
