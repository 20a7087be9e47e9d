"""A completion as OpenAI has it: the request; its chunks are read as those of chats."""

from weft_worker.engines.base import Asked, Completion
from weft_worker.engines.openai.manners import Manners
from weft_worker.engines.openai.upstream import Upstream
from weft_worker.engines.openai.wire import common, encode_request, written


def encode_asked(asked: Asked, model: str, upstream: Upstream, manners: Manners) -> bytes:
    """Write the body of a chat or of a completion."""
    if isinstance(asked, Completion):
        return _encode_completion(asked, model, upstream, manners)
    return encode_request(asked, model, upstream, manners)


def _encode_completion(completion: Completion, model: str, upstream: Upstream, manners: Manners) -> bytes:
    prompt, top = completion.prompt, completion.sampling.top_logprobs
    is_text = isinstance(prompt, str)
    return written(
        {
            "model": model,
            **common(completion, upstream, manners),
            "prompt": prompt if is_text else list(prompt),
            "suffix": completion.suffix or None,
            # A text we know ourselves.
            "echo": (completion.echo and not is_text) or None,
            # Here it is their number.
            "logprobs": None if top is None else max(top, 1),
            "top_logprobs": None,
        }
    )
