"""How much a model reads at once, as lists of all dialects tell it. Pure."""

from weft_proto.pb.weft.types.v1 import model_pb2


def context_of(model: model_pb2.Model) -> int:
    """How many tokens a request may have; those that make vectors read no more than they were trained to."""
    trained = model.about.trained_context_size
    if model.purpose == model_pb2.MODEL_PURPOSE_UNSPECIFIED or not trained:
        return model.context_size
    return min(model.context_size, trained)
