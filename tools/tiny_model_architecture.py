"""Fixes the shape of weft-tiny: sizes, special tokens and chat template, which training and files must agree on."""

from typing import Any

NAME = "weft-tiny"
VOCABULARY_SIZE = 1024
HIDDEN_SIZE = 256
FEED_FORWARD_SIZE = 512
LAYER_COUNT = 3
HEAD_COUNT = 4
KV_HEAD_COUNT = 2
HEAD_SIZE = HIDDEN_SIZE // HEAD_COUNT
CONTEXT_LENGTH = 4096
NORM_EPSILON = 1e-5
ROPE_BASE = 10_000.0

# Where a request does not say how to choose: the model knows little, and what is least likely is nonsense.
TEMPERATURE, TOP_K, TOP_P, MIN_P = 0.8, 40, 0.95, 0.05

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)  # a token's place here is its id
END_OF_TEXT_ID, TURN_START_ID, TURN_END_ID = range(3)

CHAT_TEMPLATE = """\
{%- if tools %}<|im_start|>system
Tools:
{% for tool in tools %}{{ tool.function.name }}(
{%- for parameter in (tool.function.parameters or {}).properties or {} -%}
{{ parameter }}{{ '' if loop.last else ', ' }}
{%- endfor %})
{% endfor -%}
For each call, return a JSON object within <tool_call></tool_call> tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call><|im_end|>
{% endif -%}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
{%- set arguments = call.function.arguments %}
{{- '\\n' if message.content or not loop.first else '' }}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ arguments if arguments is string else arguments | tojson }}}
</tool_call>{%- endfor %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}
"""


def hugging_face_config() -> dict[str, Any]:
    """Return the fields of `LlamaConfig` that say how the model is built."""
    return {
        "vocab_size": VOCABULARY_SIZE,
        "hidden_size": HIDDEN_SIZE,
        "intermediate_size": FEED_FORWARD_SIZE,
        "num_hidden_layers": LAYER_COUNT,
        "num_attention_heads": HEAD_COUNT,
        "num_key_value_heads": KV_HEAD_COUNT,
        "head_dim": HEAD_SIZE,
        "max_position_embeddings": CONTEXT_LENGTH,
        "rms_norm_eps": NORM_EPSILON,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": END_OF_TEXT_ID,
        "eos_token_id": TURN_END_ID,
        "pad_token_id": END_OF_TEXT_ID,
    }
