from pathlib import Path

import numpy as np
import pytest
from anyio import fail_after

from repertory.xp_store import Embedder, HashEmbedder, MiniLM, WeightsError, missing_weights

needs_minilm = [
    pytest.mark.model,
    pytest.mark.skipif(
        bool(missing_weights(("minilm-int8", "minilm-tokenizer"))),
        reason="run `repertory models install` first",
    ),
]

EMBEDDERS = [
    pytest.param(HashEmbedder(), id="hash"),
    pytest.param(MiniLM(), id="minilm", marks=needs_minilm),
]

BILL = "Read the invoice from ACME Tools and extract vendor, number and total"
BILL_TOO = "Pull the supplier's name and the amount due out of a bill"
BACKUP = "Find out why the nightly backup job ran out of disk space"


@pytest.mark.parametrize("embedder", EMBEDDERS)
async def test_every_embedder_keeps_the_contract(embedder: Embedder) -> None:
    """Ours: the index needs float32 rows of length 1 that depend on the text alone."""
    texts = [BILL, "", "ünïcode 漢字", "word " * 2000, BILL]
    with fail_after(20):
        vectors = await embedder.embed(texts)
        alone = await embedder.embed([BILL])
        nothing = await embedder.embed([])
    assert isinstance(embedder, Embedder)
    assert vectors.dtype == np.float32
    assert vectors.shape == (5, embedder.dimensions)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert np.array_equal(vectors[0], vectors[4])
    assert vectors[0] @ alone[0] == pytest.approx(1.0, abs=1e-4)
    assert nothing.shape == (0, embedder.dimensions)
    assert embedder.name
    assert 0.0 < embedder.min_cosine < 1.0


@pytest.mark.parametrize("embedder", EMBEDDERS)
async def test_shared_words_are_near_and_strangers_are_below_the_floor(embedder: Embedder) -> None:
    """Ours: recall returns nothing where nothing fits; that stands on this floor."""
    near = "Read an invoice from Globex and extract vendor, number and total"
    with fail_after(20):
        vectors = await embedder.embed([BILL, near, BACKUP])
    assert vectors[0] @ vectors[1] > 2 * embedder.min_cosine
    assert vectors[0] @ vectors[2] < embedder.min_cosine


class TestMeaning:
    """What only a model that was trained can do."""

    pytestmark = needs_minilm

    async def test_paraphrases_are_near(self) -> None:
        """Ours: without a word in common, where words alone would find nothing."""
        with fail_after(20):
            meant = await MiniLM().embed([BILL, BILL_TOO, BACKUP])
        assert meant[0] @ meant[1] > meant[0] @ meant[2] + 0.3
        words = await HashEmbedder(384).embed([BILL, BILL_TOO])
        assert words[0] @ words[1] < meant[0] @ meant[1]

    async def test_order_and_company_do_not_matter(self) -> None:
        """Ours: texts are sorted into batches, and must come back where they were."""
        texts = [f"{'long ' * (index % 7) * 20}text number {index}" for index in range(20)]
        embedder = MiniLM(threads=1)
        with fail_after(20):
            together = await embedder.embed(texts)
            apart = np.concatenate([await embedder.embed([text]) for text in texts])
        assert np.abs(together - apart).max() < 1e-4

    async def test_known_pairs_have_their_cosines(self) -> None:
        """Spec: all-MiniLM-L6-v2's card; int8 weights are within 0.001 of the official ones."""
        texts = ["That is a happy person", "That is a very happy person", "Today is a sunny day"]
        with fail_after(20):
            vectors = await MiniLM().embed(texts)
        assert vectors[0] @ vectors[1] == pytest.approx(0.943, abs=0.02)
        assert vectors[0] @ vectors[2] == pytest.approx(0.257, abs=0.03)


async def test_missing_files_are_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: an index must not wait for a download nobody asked for."""
    monkeypatch.setenv("REPERTORY_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="repertory models install"):
        await MiniLM().embed(["x"])
