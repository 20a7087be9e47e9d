"""Writes the trained weights of weft-tiny in the two formats that engines read: Hugging Face and GGUF."""

import json
from pathlib import Path

import gguf
import numpy as np
import tiny_model_architecture as shape
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer


def write_hugging_face(folder: Path, weights: dict[str, torch.Tensor], tokenizer: Tokenizer) -> None:
    """Write a folder that transformers and exllamav2 load."""
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(shape.CHAT_TEMPLATE)
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": shape.END_OF_TEXT,
        "eos_token": shape.TURN_END,
        "pad_token": shape.END_OF_TEXT,
        "add_bos_token": False,
        "model_max_length": shape.CONTEXT_LENGTH,
        "clean_up_tokenization_spaces": False,
        "chat_template": shape.CHAT_TEMPLATE,
    }
    # Written by hand: transformers 5 saves `rope_parameters`, and exllamav2 reads `rope_theta`.
    model_config = {
        **shape.hugging_face_config(),
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "rope_theta": shape.ROPE_BASE,
        "torch_dtype": "float16",
    }
    generation_config = {
        "bos_token_id": shape.END_OF_TEXT_ID,
        "eos_token_id": [shape.TURN_END_ID, shape.END_OF_TEXT_ID],
        "pad_token_id": shape.END_OF_TEXT_ID,
    }
    _write_json(folder / "tokenizer_config.json", tokenizer_config)
    _write_json(folder / "config.json", model_config)
    _write_json(folder / "generation_config.json", generation_config)


def write_gguf(path: Path, weights: dict[str, torch.Tensor], tokenizer: Tokenizer) -> None:
    """Write one Q8_0 file that llama.cpp loads, with vocabulary and chat template inside."""
    writer = gguf.GGUFWriter(path, "llama")
    _add_architecture(writer)
    _add_tokenizer(writer, tokenizer)
    _add_sampling(writer)
    for name, weight in weights.items():
        _add_tensor(writer, _gguf_name(name), weight.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_gguf(path: Path, tokenizer: Tokenizer) -> dict[str, torch.Tensor]:
    """Return the weights of a file that `write_gguf` wrote with this tokenizer."""
    reader = gguf.GGUFReader(path)
    tokens = reader.get_field("tokenizer.ggml.tokens").contents()
    vocabulary = tokenizer.get_vocab()
    assert tokens == sorted(vocabulary, key=vocabulary.__getitem__), "the file has another vocabulary"
    stored = {tensor.name: tensor for tensor in reader.tensors}
    return {
        name: torch.from_numpy(_in_halves(gguf.quants.dequantize(tensor.data, tensor.tensor_type), name))
        for name in _tensor_names()
        for tensor in [stored[_gguf_name(name)]]
    }


def _tensor_names() -> list[str]:
    parts = [
        f"{'' if 'norm' in part else 'mlp.' if part in _FEED_FORWARD else 'self_attn.'}{part}"
        for part in _LAYER_PARTS
    ]
    layers = [f"model.layers.{index}.{part}.weight" for index in range(shape.LAYER_COUNT) for part in parts]
    return ["model.embed_tokens.weight", "model.norm.weight", *layers]


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def _add_architecture(writer: gguf.GGUFWriter) -> None:
    writer.add_name(shape.NAME)
    writer.add_context_length(shape.CONTEXT_LENGTH)
    writer.add_embedding_length(shape.HIDDEN_SIZE)
    writer.add_block_count(shape.LAYER_COUNT)
    writer.add_feed_forward_length(shape.FEED_FORWARD_SIZE)
    writer.add_head_count(shape.HEAD_COUNT)
    writer.add_head_count_kv(shape.KV_HEAD_COUNT)
    writer.add_key_length(shape.HEAD_SIZE)
    writer.add_value_length(shape.HEAD_SIZE)
    writer.add_layer_norm_rms_eps(shape.NORM_EPSILON)
    writer.add_rope_freq_base(shape.ROPE_BASE)
    writer.add_rope_dimension_count(shape.HEAD_SIZE)
    writer.add_vocab_size(shape.VOCABULARY_SIZE)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    kinds = [
        gguf.TokenType.CONTROL if token in shape.SPECIAL_TOKENS else gguf.TokenType.NORMAL for token in tokens
    ]
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(shape.END_OF_TEXT_ID)
    writer.add_eos_token_id(shape.TURN_END_ID)
    writer.add_pad_token_id(shape.END_OF_TEXT_ID)
    writer.add_add_bos_token(False)
    writer.add_chat_template(shape.CHAT_TEMPLATE)


def _add_sampling(writer: gguf.GGUFWriter) -> None:
    writer.add_sampling_temp(shape.TEMPERATURE)
    writer.add_sampling_top_k(shape.TOP_K)
    writer.add_sampling_top_p(shape.TOP_P)
    writer.add_sampling_min_p(shape.MIN_P)


_LAYER_PARTS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}


_FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")


def _gguf_name(name: str) -> str:
    match name.removesuffix(".weight").split("."):
        case ["model", "embed_tokens"]:
            return "token_embd.weight"
        case ["model", "norm"]:
            return "output_norm.weight"
        case ["model", "layers", layer, *parts]:
            return f"blk.{layer}.{_LAYER_PARTS[parts[-1]]}.weight"
    raise ValueError(f"no GGUF name is known for the tensor {name!r}")


def _add_tensor(writer: gguf.GGUFWriter, name: str, tensor: np.ndarray) -> None:
    if tensor.ndim == 1:
        writer.add_tensor(name, tensor)
        return
    if ".attn_q." in name:
        tensor = _interleaved(tensor, shape.HEAD_COUNT)
    if ".attn_k." in name:
        tensor = _interleaved(tensor, shape.KV_HEAD_COUNT)
    quantized = gguf.quants.quantize(tensor, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor(name, quantized, raw_dtype=gguf.GGMLQuantizationType.Q8_0)


def _interleaved(tensor: np.ndarray, head_count: int) -> np.ndarray:
    """Reorder rows: transformers rotates a head's first half with its second, llama.cpp rotates neighbours."""
    halves = tensor.reshape(head_count, 2, tensor.shape[0] // head_count // 2, -1)
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def _in_halves(tensor: np.ndarray, name: str) -> np.ndarray:
    """Undo `_interleaved`."""
    if ".q_proj." not in name and ".k_proj." not in name:
        return tensor.copy()
    head_count = tensor.shape[0] // shape.HEAD_SIZE
    neighbours = tensor.reshape(head_count, tensor.shape[0] // head_count // 2, 2, -1)
    return neighbours.swapaxes(1, 2).reshape(tensor.shape)
