"""Texts to vectors: the port `Embedder`, MiniLM on the CPU, and feature hashing for tests.

What is done with the vectors is in `index` and `recall`.
"""

import os
import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import anyio.to_thread
import numpy as np
from numpy.typing import NDArray

from .errors import WeightsError
from .weights import MINILM, MINILM_TOKENIZER, find_weights

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

Vectors = NDArray[np.float32]

# The 99th percentile between unrelated task descriptions was 0.27, the median of
# related ones 0.28 to 0.39.
_MINILM_MIN_COSINE = 0.3
# Batches of 512 tokens: 309 MB of memory in all; 1,024: 443 MB; 8,192: 774 MB; none faster.
_BATCH_TOKENS = 512
_WORD = re.compile(r"\w+")


@runtime_checkable
class Embedder(Protocol):
    """Turn texts into vectors whose dot product is their likeness.

    name: says which vectors these are; an index keeps it, since vectors of two
    embedders cannot be compared. min_cosine: below it two texts have nothing to
    do with each other, as measured for this embedder.
    """

    @property
    def name(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    @property
    def min_cosine(self) -> float: ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """float32 of shape (len(texts), dimensions), each row of length 1."""
        ...


class MiniLM:
    """all-MiniLM-L6-v2 with int8 weights on onnxruntime, English, loaded when first asked.

    Texts are cut at `max_tokens` word pieces, as the model was trained. threads:
    None for all cores but one. It computes in a worker thread.

    Raises, from `embed`:
        WeightsError: The model's files are not on this machine.
    """

    def __init__(self, *, threads: int | None = None, max_tokens: int = 256) -> None:
        self._threads = threads or max(1, (os.cpu_count() or 2) - 1)
        self._max_tokens = max_tokens
        self._loading = Lock()
        self._session: InferenceSession | None = None
        self._tokenizer: Tokenizer | None = None

    @property
    def name(self) -> str:
        """The model, its weights' form and where it cuts."""
        return f"all-MiniLM-L6-v2-int8-{self._max_tokens}"

    @property
    def dimensions(self) -> int:
        """384."""
        return 384

    @property
    def min_cosine(self) -> float:
        """Unrelated task descriptions are below it, 99 of 100 times."""
        return _MINILM_MIN_COSINE

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed `texts`, in batches of like lengths."""
        return await anyio.to_thread.run_sync(self._embed, tuple(texts))

    def _embed(self, texts: tuple[str, ...]) -> Vectors:
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        if not texts:
            return vectors
        tokenizer, session = self._loaded()
        encoded = [each.ids for each in tokenizer.encode_batch(texts)]
        # A batch costs as much as its longest text, so like goes with like.
        order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
        for chosen in _batches(order, [len(ids) for ids in encoded]):
            vectors[chosen] = _pooled(session, [encoded[index] for index in chosen])
        return vectors

    def _loaded(self) -> "tuple[Tokenizer, InferenceSession]":
        with self._loading:
            if self._tokenizer is None or self._session is None:
                self._tokenizer = _load_tokenizer(_present(MINILM_TOKENIZER), self._max_tokens)
                self._session = _load_session(_present(MINILM), self._threads)
            return self._tokenizer, self._session


class HashEmbedder:
    """Feature hashing of words and word pairs: deterministic, instant, and without meaning.

    Texts are alike as far as they share words; paraphrases are strangers to it.
    For tests, and for machines where nothing can be installed.
    """

    def __init__(self, dimensions: int = 64) -> None:
        self._dimensions = dimensions

    @property
    def name(self) -> str:
        """The method and its dimensions."""
        return f"hash-{self._dimensions}"

    @property
    def dimensions(self) -> int:
        """As many as were asked for."""
        return self._dimensions

    @property
    def min_cosine(self) -> float:
        """About one word in three shared; with few dimensions strangers collide below that."""
        return 0.3

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed `texts`; one without words becomes the first unit vector."""
        vectors = np.zeros((len(texts), self._dimensions), np.float32)
        for row, text in enumerate(texts):
            words = _WORD.findall(text.casefold())
            for feature in [*words, *(" ".join(pair) for pair in pairwise(words))]:
                digest = int.from_bytes(blake2b(feature.encode(), digest_size=8).digest(), "big")
                # The lowest bit is the sign, so that collisions cancel on average.
                vectors[row, (digest >> 1) % self._dimensions] += 1.0 if digest & 1 else -1.0
            if not vectors[row].any():
                vectors[row, 0] = 1.0
        return _normalised(vectors)


def _batches(order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices in `order`, shortest first, as batches of at most `_BATCH_TOKENS` with padding."""
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * lengths[index] > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _pooled(session: "InferenceSession", encoded: list[list[int]]) -> Vectors:
    """Mean of the last hidden states over the real tokens, normalised."""
    longest = max(len(ids) for ids in encoded)
    ids = np.zeros((len(encoded), longest), np.int64)
    mask = np.zeros_like(ids)
    for row, each in enumerate(encoded):
        ids[row, : len(each)] = each
        mask[row, : len(each)] = 1
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    hidden: Any = session.run(["last_hidden_state"], inputs)[0]
    weights = mask[:, :, None].astype(np.float32)
    return _normalised((hidden * weights).sum(axis=1) / weights.sum(axis=1))


def _normalised(vectors: Vectors) -> Vectors:
    normalised: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(
        np.float32
    )
    return normalised


def _present(name: str) -> Path:
    path = find_weights(name)
    if path is None:
        raise WeightsError(
            f"the weights {name!r} of the embedder are not on this machine; run `repertory models"
            " install`",
            name=name,
        )
    return path


def _load_tokenizer(path: Path, max_tokens: int) -> "Tokenizer":
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(max_tokens)
    # The file pads everything to 128 tokens; batches are padded where they are made.
    tokenizer.no_padding()
    return tokenizer


def _load_session(path: Path, threads: int) -> "InferenceSession":
    # Its types leave out what it builds at import.
    engine: Any = import_module("onnxruntime")
    options = engine.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The arena keeps the memory of the largest batch ever seen.
    options.enable_cpu_mem_arena = False
    # Threads that spin between two texts take the cores from everybody else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session: InferenceSession = engine.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    return session
