"""The Hugging Face folder of weft-tiny, made out of the GGUF file that Weft ships."""

import json
import shutil
import sys
from pathlib import Path

import gguf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import weft_worker

_TOOLS = Path(__file__).parents[2] / "tools"
_GGUF = Path(weft_worker.__file__).with_name("models") / "weft-tiny.gguf"


def write_tiny_folder(folder: Path) -> Path:
    """Write config, weights (fp16), tokenizer and chat template; gives the folder back."""
    sys.path.insert(0, str(_TOOLS))
    try:
        from tiny_model_files import read_gguf, write_hugging_face
    finally:
        sys.path.remove(str(_TOOLS))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    write_hugging_face(folder, read_gguf(_GGUF, tokenizer), tokenizer)
    return folder


def write_base_folder(folder: Path, tiny_folder: Path) -> Path:
    """Write the same without its chat template, which is in `chat.jinja` beside the folder; gives the folder back."""
    shutil.copytree(tiny_folder, folder)
    (folder / "chat_template.jinja").rename(folder.parent / "chat.jinja")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def _tokenizer() -> Tokenizer:
    """The file has all of it but how text is cut and put together, which is GPT-2's way."""
    reader = gguf.GGUFReader(_GGUF)
    tokens = reader.get_field("tokenizer.ggml.tokens").contents()
    merges = reader.get_field("tokenizer.ggml.merges").contents()
    kinds = reader.get_field("tokenizer.ggml.token_type").contents()
    vocabulary = {token: number for number, token in enumerate(tokens)}
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == gguf.TokenType.CONTROL]
    tokenizer.add_special_tokens(special)
    return tokenizer
