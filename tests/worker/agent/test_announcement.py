from weft_proto.weft.types.v1 import NodeState
from weft_worker.agent.announcement import announcement


def test_a_healthy_node_is_told_that_it_is_in() -> None:
    assert announcement("two", NodeState.HEALTHY, "weft.example:8080") == (
        "worker two is registered at weft.example:8080: healthy; Ctrl-C stops it"
    )


def test_a_pending_node_is_told_what_to_do() -> None:
    text = announcement("two", NodeState.PENDING, "weft.example:8080")
    assert "waits for approval" in text
    assert text.endswith("weft nodes approve two")
