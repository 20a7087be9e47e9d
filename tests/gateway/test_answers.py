"""Check's answers: a refusal is complete, in the dialect of REST or with gRPC's own status."""

from datetime import timedelta

import orjson

from weft_common.dialects import Dialect
from weft_common.errors import ModelNotFound, NoCapacity
from weft_gateway.answers import allow, refuse_grpc, refuse_rest


def headers(options: object) -> dict[str, str]:
    return {o.header.key: o.header.value for o in options}  # type: ignore[attr-defined]


def test_allowing_overwrites_whatever_the_client_sent() -> None:
    answer = allow({"x-weft-destination": "127.0.0.1:7"})
    (option,) = answer.ok_response.headers
    assert (answer.status.code, option.header.value) == (0, "127.0.0.1:7")
    assert option.append_action == option.OVERWRITE_IF_EXISTS_OR_ADD
    assert not answer.ok_response.response_headers_to_add


def test_the_answer_may_get_headers_of_its_own() -> None:
    answer = allow({}, {"x-weft-queue-position": "2"})
    assert headers(answer.ok_response.response_headers_to_add) == {"x-weft-queue-position": "2"}


def test_a_rest_refusal_has_openais_error_object() -> None:
    denied = refuse_rest(ModelNotFound("The model 'x' does not exist"), Dialect.OPENAI).denied_response
    assert denied.status.code == 404
    assert headers(denied.headers) == {"content-type": "application/json"}
    assert orjson.loads(denied.body)["error"]["code"] == "model_not_found"


def test_a_refusal_that_passes_says_when_to_come_back() -> None:
    denied = refuse_rest(
        NoCapacity("full", retry_after=timedelta(seconds=0.2)), Dialect.OPENAI
    ).denied_response
    assert headers(denied.headers)["retry-after"] == "1"


def test_a_refusal_on_our_own_api_is_a_status() -> None:
    denied = refuse_rest(ModelNotFound("The model 'x' does not exist"), Dialect.WEFT).denied_response
    (info,) = orjson.loads(denied.body).pop("details")
    assert orjson.loads(denied.body) | {"details": []} == {
        "code": 5,
        "message": "The model 'x' does not exist",
        "details": [],
    }
    assert (info["reason"], info["domain"]) == ("MODEL_NOT_FOUND", "weft")


def test_a_grpc_refusal_keeps_code_message_and_details() -> None:
    denied = refuse_grpc(ModelNotFound("100 % für 'x'")).denied_response
    sent = headers(denied.headers)
    assert denied.status.code == 200
    assert sent["grpc-status"] == "5"
    assert sent["grpc-message"] == "100 %25 f%C3%BCr 'x'"
    assert "grpc-status-details-bin" in sent


def test_a_grpc_refusal_is_no_longer_than_clients_take() -> None:
    sent = headers(refuse_grpc(ModelNotFound("a" * 100_000)).denied_response.headers)
    assert sum(len(key) + len(value) + 32 for key, value in sent.items()) < 8192, (
        "the default of grpc's clients"
    )
