"""A prompt that does not fit, in the words that Anthropic's clients look for before they shorten a conversation."""

import re

from weft_common.errors import ContextLengthExceeded, WeftError

_COUNTED = re.compile(r"maximum context length is (\d+) tokens.* resulted in (\d+) tokens")


def in_anthropics_words(error: WeftError) -> WeftError:
    """The same error; of a prompt that an engine has not counted its own words follow."""
    if not isinstance(error, ContextLengthExceeded):
        return error
    counted = _COUNTED.search(error.message)
    told = f"{counted[2]} tokens > {counted[1]} maximum" if counted else error.message
    return ContextLengthExceeded(f"prompt is too long: {told}", violations=error.violations)
