"""What does not fit a context, in the words that clients of OpenAI look for."""

from weft_common.errors import ContextLengthExceeded, FieldViolation, InvalidRequest
from weft_worker.engines.base import Asked, Completion


def messages_too_long(prompt_count: int, context_size: int) -> ContextLengthExceeded:
    """The refusal of a conversation, which has so many tokens or more: of a text that is far too long nobody counts."""
    text = (
        f"This model's maximum context length is {context_size} tokens. However, your messages resulted in "
        f"{prompt_count} tokens. Please reduce the length of the messages."
    )
    return ContextLengthExceeded(text, violations=[FieldViolation("messages", text)])


def prompt_too_long(completion: Completion, prompt_count: int, context_size: int) -> ContextLengthExceeded:
    """The refusal of a text to complete, which has so many tokens or more."""
    answer_count = completion.sampling.max_tokens or 0
    text = (
        f"This model's maximum context length is {context_size} tokens, however you requested "
        f"{prompt_count + answer_count} tokens ({prompt_count} in your prompt; {answer_count} for the completion). "
        "Please reduce your prompt; or completion length."
    )
    return ContextLengthExceeded(text, violations=[FieldViolation("prompt", text)])


def too_long(asked: Asked, prompt_count: int, context_size: int) -> ContextLengthExceeded:
    """The one or the other."""
    if isinstance(asked, Completion):
        return prompt_too_long(asked, prompt_count, context_size)
    return messages_too_long(prompt_count, context_size)


def check_completion(completion: Completion) -> None:
    """Raise InvalidRequest that names what engines cannot do that only know what comes next."""
    if completion.suffix:
        raise no_gaps()
    check_echo(completion)


def check_echo(completion: Completion) -> None:
    """Raise InvalidRequest where the probabilities of a prompt are asked for."""
    if completion.echo and completion.sampling.top_logprobs is not None:
        raise no_echoed_probabilities()


def no_gaps() -> InvalidRequest:
    """The refusal of a suffix by an engine, or for a model, that only knows what comes next."""
    return _refused("suffix", "The model fills no gaps: leave it out")


def no_prompt() -> InvalidRequest:
    """The refusal of a text of which no token is left, where nothing says how a new document begins."""
    return _refused("prompt", "The model's tokenizer makes nothing of it")


def no_echoed_probabilities() -> InvalidRequest:
    """The refusal of probabilities of a prompt by an engine that knows those of what it generates."""
    return _refused("echo", "Probabilities are not told of prompts here: leave out this or `logprobs`")


def long_echo(most: int) -> InvalidRequest:
    """The refusal of probabilities of a prompt that is longer than is computed one by one."""
    return _refused("echo", f"Probabilities are told of prompts of {most:,} tokens at most")


def unknown_prompt_token(token: int, vocabulary_size: int | None = None) -> InvalidRequest:
    """The refusal of a token that is not in the vocabulary."""
    known = f", which has {vocabulary_size}" if vocabulary_size is not None else ""
    return _refused("prompt", f"Token {token} is not in the model's vocabulary{known}")


def _refused(field: str, words: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {words}.", violations=[FieldViolation(field, words)])
