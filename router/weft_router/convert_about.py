"""What the files of a model say about it, as the fleet has it and as others see it: the fields are the same."""

from dataclasses import fields

from weft_proto.pb.weft.types.v1 import model_pb2
from weft_router.fleet.about import About


def about_pb(about: About) -> model_pb2.ModelAbout:
    """As others see it."""
    return model_pb2.ModelAbout(**{field.name: getattr(about, field.name) for field in fields(about)})


def about_of(message: model_pb2.ModelAbout) -> About:
    """As the fleet has it."""
    return About(**{field.name: getattr(message, field.name) for field in fields(About)})
