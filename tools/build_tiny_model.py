"""Trains weft-tiny, the two-million-parameter chat model that Weft ships, and writes it out.

    python -m venv /tmp/tiny && . /tmp/tiny/bin/activate
    pip install torch==2.13.0 transformers==5.23.0 tokenizers==0.23.3 safetensors==0.8.0 gguf==0.19.0 numpy jinja2
    python tools/build_tiny_model.py OUT

OUT receives a Hugging Face folder (`config.json`, `model.safetensors`, `tokenizer.json`, ...) and
`weft-tiny.gguf` (Q8_0), which is copied to `worker/weft_worker/models/`. The text comes from
`tiny_model_corpus.py`. The same seed, packages, threads and kind of CPU give the same bytes; another CPU
may not, which is why the file is committed and not rebuilt by CI.
"""

import argparse
import hashlib
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tiny_model_architecture as shape
import torch
from tiny_model_corpus import make_conversation, make_prose, render
from tiny_model_files import write_gguf, write_hugging_face
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

STEP_COUNT = 1800
TOKENS_PER_STEP = 2048
# Mostly short rows, which are cheap; a few as long as the context, so that no position is new to the model.
ROW_LENGTHS = {128: 0.55, 256: 0.25, 512: 0.12, 2048: 0.06, 4096: 0.02}
CONVERSATION_COUNT = 30_000
OVERFLOW_COUNT = 1200
REPETITION_SHARE = 0.15
PEAK_LEARNING_RATE = 1e-3
WARM_UP_STEPS = 30
INITIAL_SPREAD = 0.04

# Weights in the loss. Answers are to be learnt; what users say is only read; going on after an answer
# is what the model falls back to when a client forbids it to stop, and must stay far behind stopping.
ANSWER_WEIGHT, QUESTION_WEIGHT, OVERFLOW_START_WEIGHT, REPETITION_WEIGHT = 1.0, 0.1, 0.05, 0.5


@dataclass(frozen=True, slots=True)
class Document:
    """A conversation as the model reads it, and prose that runs on after it, if any."""

    conversation: str
    overflow: str = ""


@dataclass(frozen=True, slots=True)
class WeightedTokens:
    """Token ids and the weight of each in the loss."""

    ids: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True, slots=True)
class Corpus:
    """All documents in one row of tokens, and where each starts."""

    tokens: WeightedTokens
    starts: np.ndarray


def main() -> None:
    """Train, then write both formats."""
    arguments = _parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)

    documents = write_documents(random.Random(arguments.seed))
    tokenizer = train_tokenizer(documents)
    corpus = encode_corpus(tokenizer, documents)
    print(f"{len(corpus.tokens.ids)} tokens in {len(documents)} documents", flush=True)

    model = new_model()
    train(
        model,
        draw_batches(corpus, tokenizer, np.random.default_rng(arguments.seed)),
        step_count=arguments.steps,
    )

    weights = _half_precision_weights(model)
    path = arguments.out / f"{shape.NAME}.gguf"
    write_hugging_face(arguments.out, weights, tokenizer)
    write_gguf(path, weights, tokenizer)
    print(f"{path}: {path.stat().st_size} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


def write_documents(rng: random.Random) -> list[Document]:
    """Return the whole corpus as text."""
    conversations = [Document(render(make_conversation(rng))) for _ in range(CONVERSATION_COUNT)]
    overflowing = [
        Document(render(make_conversation(rng)), "\n\n" + make_prose(rng)) for _ in range(OVERFLOW_COUNT)
    ]
    return conversations + overflowing


def train_tokenizer(documents: list[Document]) -> Tokenizer:
    """Return a byte-level BPE tokenizer, GPT-2's kind, which llama.cpp reads."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.VOCABULARY_SIZE,
        special_tokens=list(shape.SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(map(_plain_text, documents), trainer)
    assert tokenizer.get_vocab_size() == shape.VOCABULARY_SIZE, "the corpus has too few different words"
    return tokenizer


def encode_corpus(tokenizer: Tokenizer, documents: list[Document]) -> Corpus:
    """Join all documents, each ended by END_OF_TEXT, and weigh their tokens."""
    opening = np.array(tokenizer.encode(f"{shape.TURN_START}assistant\n").ids)
    parts = [_encode_document(tokenizer, document, opening) for document in documents]
    ends = np.cumsum([len(part.ids) for part in parts])
    ids, weights = (
        np.concatenate(column) for column in ([part.ids for part in parts], [part.weights for part in parts])
    )
    return Corpus(WeightedTokens(ids, weights), starts=np.concatenate(([0], ends[:-1])))


def draw_batches(corpus: Corpus, tokenizer: Tokenizer, rng: np.random.Generator) -> Iterator[WeightedTokens]:
    """Yield batches of about the same token count for ever, of a row length drawn for each."""
    pieces = _copyable_pieces(tokenizer)
    lengths, shares = zip(*ROW_LENGTHS.items(), strict=True)
    while True:
        length = int(rng.choice(lengths, p=shares))
        rows = []
        for _ in range(max(1, TOKENS_PER_STEP // length)):
            is_repetition = rng.random() < REPETITION_SHARE
            rows.append(
                _repetition_row(pieces, length + 1, rng)
                if is_repetition
                else _text_row(corpus, length + 1, rng)
            )
        yield WeightedTokens(np.stack([row.ids for row in rows]), np.stack([row.weights for row in rows]))


def new_model() -> LlamaForCausalLM:
    """Return a model that has learnt nothing, but can copy."""
    model = LlamaForCausalLM(LlamaConfig(**shape.hugging_face_config(), initializer_range=INITIAL_SPREAD))
    _give_an_induction_head(model)
    return model


def train(model: LlamaForCausalLM, batches: Iterator[WeightedTokens], *, step_count: int) -> None:
    """Fit the model to `step_count` batches, with a warm-up and a cosine decay."""
    model.train()
    optimizers = _optimizers(model)
    for step, batch in zip(range(step_count), batches, strict=False):
        loss = _weighted_loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = _learning_rate(step, step_count)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if step % 50 == 0 or step == step_count - 1:
            print(f"step {step} loss {loss.item():.3f}", flush=True)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train weft-tiny and write it as a Hugging Face folder and a GGUF."
    )
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--steps", type=int, default=STEP_COUNT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="other numbers may give other bytes")
    return parser.parse_args()


def _plain_text(document: Document) -> str:
    text = document.conversation + document.overflow
    for token in shape.SPECIAL_TOKENS:
        text = text.replace(token, "")
    return text


def _encode_document(tokenizer: Tokenizer, document: Document, opening: np.ndarray) -> WeightedTokens:
    ids = np.array(tokenizer.encode(document.conversation).ids)
    weights = _answer_weights(ids, opening)
    if document.overflow:
        more = np.array(tokenizer.encode(document.overflow).ids)
        more_weights = np.where(np.arange(len(more)) == 0, OVERFLOW_START_WEIGHT, ANSWER_WEIGHT)
        last_answer = np.flatnonzero(ids == shape.TURN_END_ID)[-1]  # its end, which this document has not
        ids, weights = np.append(ids[:last_answer], more), np.append(weights[:last_answer], more_weights)
    return WeightedTokens(
        np.append(ids, shape.END_OF_TEXT_ID), np.append(weights, QUESTION_WEIGHT).astype(np.float32)
    )


def _answer_weights(ids: np.ndarray, opening: np.ndarray) -> np.ndarray:
    """Give each answer, its end-of-turn token included, one weight and everything else another."""
    weights = np.full(len(ids), QUESTION_WEIGHT)
    windows = np.lib.stride_tricks.sliding_window_view(ids, len(opening))
    ends = np.flatnonzero(ids == shape.TURN_END_ID)
    for start in np.flatnonzero((windows == opening).all(axis=1)) + len(opening):
        weights[start : ends[np.searchsorted(ends, start)] + 1] = ANSWER_WEIGHT
    return weights


def _text_row(corpus: Corpus, length: int, rng: np.random.Generator) -> WeightedTokens:
    """Return a slice that begins with a document, as a prompt does."""
    usable = np.searchsorted(corpus.starts, len(corpus.tokens.ids) - length)
    row = slice(start := corpus.starts[rng.integers(usable)], start + length)
    return WeightedTokens(corpus.tokens.ids[row], corpus.tokens.weights[row])


def _repetition_row(pieces: list[list[int]], length: int, rng: np.random.Generator) -> WeightedTokens:
    """Return random text said again and again; all but the first round can be known by copying."""
    period = int(rng.integers(4, min(length // 2, 200)))
    once = [token for piece in rng.integers(len(pieces), size=period) for token in pieces[piece]]
    weights = np.where(np.arange(length) < len(once), 0.0, REPETITION_WEIGHT)
    return WeightedTokens(np.resize(np.array(once), length), weights.astype(np.float32))


def _copyable_pieces(tokenizer: Tokenizer) -> list[list[int]]:
    """Return token runs that are each whole text: ASCII tokens, and letters of several bytes."""
    ordinary = range(len(shape.SPECIAL_TOKENS), shape.VOCABULARY_SIZE)
    ascii_tokens = [[token] for token in ordinary if tokenizer.decode([token]).isascii()]
    letters = [chr(code) for code in (*range(0xC0, 0x180, 2), *range(0x391, 0x3C9), *range(0x410, 0x450))]
    letters += [chr(code) for code in (*range(0x4E00, 0x9FA0, 200), *range(0x1F600, 0x1F640))]
    return ascii_tokens + [encoding.ids for encoding in tokenizer.encode_batch(letters)]


@torch.no_grad()
def _give_an_induction_head(model: LlamaForCausalLM) -> None:
    """Set one head of layer 0 and one of layer 1 so that together they continue a repeated text.

    Copying is the slowest thing for a small transformer to discover: from random weights it had not begun
    after 1,200 steps, and "Say: ...", names and tool arguments all depend on it. From this start the
    model copies at step 0 and training only has to keep it. Head one marks each token with a code of the
    token before it; head two looks for the mark of the current token and repeats what stands there.
    """
    for layer in model.model.layers:  # quiet, so that the two heads are heard
        layer.self_attn.o_proj.weight *= 0.1
        layer.mlp.down_proj.weight *= 0.1
    basis = torch.linalg.qr(torch.randn(shape.HIDDEN_SIZE, shape.HIDDEN_SIZE)).Q
    basis[0] = 0.0  # dimension 0 is kept for the constant that `_look_one_back` needs
    code, mark, answer = basis[:, : 3 * shape.HEAD_SIZE].split(shape.HEAD_SIZE, dim=1)
    head = slice(shape.HEAD_SIZE)

    first, second = (model.model.layers[layer].self_attn for layer in (0, 1))
    _look_one_back(model)
    first.v_proj.weight[head] = code.T
    first.o_proj.weight[:, head] = 0.1 * mark
    # Only slowly rotating dimensions compare content, for a match must not depend on distance.
    is_slow = (torch.arange(shape.HEAD_SIZE) % (shape.HEAD_SIZE // 2) >= shape.HEAD_SIZE // 4)[:, None]
    second.q_proj.weight[head] = 2.0 * code.T * is_slow
    second.k_proj.weight[head] = 2.0 * mark.T * is_slow
    second.v_proj.weight[head] = answer.T
    second.o_proj.weight[:, head] = answer


def _look_one_back(model: LlamaForCausalLM) -> None:
    """Make head 0 of layer 0 attend to the previous token, whatever it is.

    All embeddings share a large constant in dimension 0; from it come a constant key, and a constant
    query turned back by one position, so that RoPE makes their product peak at distance one.
    """
    constant = 5 * INITIAL_SPREAD
    embedding, attention = model.model.embed_tokens.weight, model.model.layers[0].self_attn
    embedding[:, 0] = constant
    seen = constant / embedding.square().mean(dim=1).sqrt().mean()  # the constant after RMSNorm
    sharpness = 5.0
    half = shape.HEAD_SIZE // 2
    turn_per_token = shape.ROPE_BASE ** (-torch.arange(half) / half)
    is_fast = torch.arange(half) < 8  # the others can hardly tell neighbours apart
    size = math.sqrt(sharpness * math.sqrt(shape.HEAD_SIZE)) / seen * is_fast
    attention.k_proj.weight[: shape.HEAD_SIZE] *= 0.1
    attention.q_proj.weight[: shape.HEAD_SIZE] *= 0.1
    attention.k_proj.weight[:half, 0] = size
    attention.q_proj.weight[:half, 0] = size * turn_per_token.cos()
    attention.q_proj.weight[half : 2 * half, 0] = -size * turn_per_token.sin()


def _optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices inside the layers, which it fits in fewer steps, and AdamW for the rest."""
    inner = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    taken = {id(weight) for weight in inner}
    rest = [weight for weight in model.parameters() if id(weight) not in taken]
    return [
        torch.optim.Muon(inner, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, betas=(0.9, 0.95), weight_decay=0.05),
    ]


def _learning_rate(step: int, step_count: int) -> float:
    warm_up = min(1.0, (step + 1) / WARM_UP_STEPS)
    decay = 0.5 * (1 + math.cos(math.pi * step / step_count))
    return PEAK_LEARNING_RATE * warm_up * (0.02 + 0.98 * decay)


def _weighted_loss(model: LlamaForCausalLM, batch: WeightedTokens) -> torch.Tensor:
    ids, weights = torch.from_numpy(batch.ids), torch.from_numpy(batch.weights[:, 1:]).reshape(-1)
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits.reshape(-1, shape.VOCABULARY_SIZE)
    losses = torch.nn.functional.cross_entropy(logits, ids[:, 1:].reshape(-1), reduction="none")
    return (losses * weights).sum() / weights.sum()


def _half_precision_weights(model: LlamaForCausalLM) -> dict[str, torch.Tensor]:
    """Return the weights to ship; the output layer is left out, since it is the embedding again."""
    state = model.eval().half().state_dict()
    return {name: weight.contiguous() for name, weight in state.items() if name != "lm_head.weight"}


if __name__ == "__main__":
    main()
