"""What a name that comes from outside may be: something that a column holds and a person can read."""

MAX_CHARACTERS = 255


def text_problem(text: str, *, least: int = 1) -> str:
    """What is wrong with a name, if anything; control characters are, and NUL is what PostgreSQL cannot hold."""
    good = least <= len(text) <= MAX_CHARACTERS and text.isprintable()
    return "" if good else f"{least} to {MAX_CHARACTERS} printable characters are needed"


def is_text(*texts: str) -> bool:
    """Whether each of them may be a name."""
    return not any(map(text_problem, texts))
