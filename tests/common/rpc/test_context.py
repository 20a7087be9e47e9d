"""What a handler can learn and say, without a server."""

import pytest

from weft_common.rpc import CallContext, call_scope, current_call


def test_current_call_is_the_scopes():
    with call_scope(CallContext({"x-request-id": "1"}, peer="p", time_remaining=lambda: 2.5)):
        call = current_call()
        assert (call.metadata, call.peer, call.deadline_seconds()) == ({"x-request-id": "1"}, "p", 2.5)


def test_there_is_no_call_outside_of_a_handler():
    with pytest.raises(LookupError):
        current_call()


def test_call_without_a_deadline_waits_for_ever():
    assert CallContext().deadline_seconds() is None


def test_initial_metadata_is_handed_over_once():
    call = CallContext()
    call.set_initial_metadata([("a", "1"), ("b", "2")])
    call.set_initial_metadata([("a", "3")])
    assert (call.take_initial(), call.take_initial()) == ((("a", "3"), ("b", "2")), ())


def test_initial_metadata_after_the_first_message_is_a_mistake():
    call = CallContext()
    call.take_initial()
    with pytest.raises(RuntimeError, match="before the first message"):
        call.set_initial_metadata([("a", "1")])


def test_trailing_metadata_adds_up():
    call = CallContext()
    call.add_trailing_metadata([("a", "1")])
    call.add_trailing_metadata([("a", "2")])
    assert call.trailing() == (("a", "1"), ("a", "2"))
