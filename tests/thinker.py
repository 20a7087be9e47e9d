"""weft-tiny with the chat template of a model that thinks, which it does where it is told to repeat a thought."""

import struct
from collections.abc import Mapping
from pathlib import Path

import weft_worker
from weft_common.gguf import open_head

_WEFT_TINY = Path(weft_worker.__file__).with_name("models") / "weft-tiny.gguf"
_TEMPLATE_KEY = "tokenizer.chat_template"
_ALIGNMENT = 32
_TOKENS = "tokenizer.ggml.tokens"
# A token that stands for itself wherever it is written.
_CONTROL = 3

# As Qwen3's: an answer has its thought in front of it where it is the latest one, and a switch has the model find an
# empty thought in front of what it is about to say.
TEMPLATE = """\
{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and message.reasoning_content and loop.last %}
{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}
{%- endif %}
{{- (message.content or '') + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}"""

# As that of DeepSeek's R1: every answer begins inside of a thought, and those of earlier ones are left out.
OPEN_TEMPLATE = """\
{%- for message in messages %}
{%- set content = message.content or '' %}
{%- if message.role == 'assistant' %}
{%- if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}
{%- endif %}
{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"""


def write_thinker(path: Path, template: str = TEMPLATE) -> Path:
    """Write such a model."""
    return patched(_WEFT_TINY, path, {_TEMPLATE_KEY: template})


def write_filler(path: Path) -> Path:
    """Write a model that has the marks of gaps, as StarCoder has them."""
    marks = {1021: "<fim_prefix>", 1022: "<fim_suffix>", 1023: "<fim_middle>"}
    return patched(_WEFT_TINY, path, {}, marks)


def patched(
    source: Path, path: Path, texts: Mapping[str, str], tokens: Mapping[int, str] | None = None
) -> Path:
    """Copy a GGUF file with other texts for some of its keys, and other tokens."""
    raw = source.read_bytes()
    out, place = bytearray(), 0
    with open_head(source) as head:
        for key in head.walk():
            if key not in texts and not (tokens and key in _VOCABULARY):
                continue
            begin = head._place  # behind the kind of the value
            if key in texts:
                head.value()
                new = _text(texts[key])
            else:
                list(head.text_lengths()) if key == _TOKENS else head._skip(head._taken())
                new = _VOCABULARY[key](raw[begin : head._place], tokens or {})
            out += raw[place:begin] + new
            place = head._place
        for _ in head.tensor_names():
            pass
        end = head._place
    out += raw[place:end]
    out += bytes(-len(out) % _ALIGNMENT)
    path.write_bytes(out + raw[end + (-end % _ALIGNMENT) :])
    return path


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _other_tokens(value: bytes, tokens: Mapping[int, str]) -> bytes:
    kind, count = struct.unpack_from("<IQ", value)
    out, place = bytearray(struct.pack("<IQ", kind, count)), 12
    for number in range(count):
        (length,) = struct.unpack_from("<Q", value, place)
        old = value[place : place + 8 + length]
        out += _text(tokens[number]) if number in tokens else old
        place += 8 + length
    return bytes(out)


def _other_kinds(value: bytes, tokens: Mapping[int, str]) -> bytes:
    out = bytearray(value)
    for number in tokens:
        struct.pack_into("<i", out, 12 + 4 * number, _CONTROL)
    return bytes(out)


_VOCABULARY = {_TOKENS: _other_tokens, "tokenizer.ggml.token_type": _other_kinds}
