"""Rules of the contract that buf does not know."""

import importlib.resources

import betterproto2
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

DESCRIPTORS = FileDescriptorSet.FromString(
    (importlib.resources.files("weft_proto") / "descriptors.binpb").read_bytes()
)
OURS = [file for file in DESCRIPTORS.file if file.package.startswith("weft.")]
MESSAGES = [(file.package, message) for file in OURS for message in file.message_type]


@pytest.mark.parametrize(("package", "message"), MESSAGES, ids=[f"{p}.{m.name}" for p, m in MESSAGES])
def test_no_field_shadows_a_method_of_the_message_class(package: str, message: DescriptorProto) -> None:
    taken = {name for name in dir(betterproto2.Message) if not name.startswith("__")}
    assert not {field.name for field in message.field} & taken


def test_every_error_reason_has_its_exception_and_its_code() -> None:
    from weft_common.errors import BY_REASON

    (enum,) = (e for file in OURS if file.package == "weft.errors.v1" for e in file.enum_type)
    reasons = {v.name.removeprefix("ERROR_REASON_") for v in enum.value} - {"UNSPECIFIED"}
    assert set(BY_REASON) == reasons


def test_the_descriptor_set_can_explain_error_details() -> None:
    names = {f"{file.package}.{m.name}" for file in DESCRIPTORS.file for m in file.message_type}
    assert {"google.rpc.ErrorInfo", "google.rpc.RetryInfo", "google.rpc.BadRequest"} <= names
