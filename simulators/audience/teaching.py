"""`repertory audience train`: a judge from a folder of judgments, with its figures on left-out debates."""

from pathlib import Path

import anyio.to_thread
import numpy as np

from repertory.xp_store import MiniLM

from .agreement import accuracy, gain
from .corpus import Corpus, load_corpus
from .crossing import across_debates
from .linear import save_linear
from .training import Vectors, embedded, train


async def teach(folder: Path, out: Path, meaning: bool) -> list[str]:
    """Train on all of `folder`, write the judge, and return what to tell of it.

    Raises:
        SimulatorInputError: The folder holds no judgments of that layout.
    """
    corpus = await anyio.to_thread.run_sync(load_corpus, folder)
    vectors = await embedded(corpus, MiniLM()) if meaning else None
    return await anyio.to_thread.run_sync(_taught, corpus, vectors, folder, out)


def _taught(corpus: Corpus, vectors: Vectors | None, folder: Path, out: Path) -> list[str]:
    about = {
        "data": f"{folder.name}: {len(corpus.texts)} texts, {len(corpus.votes)} votes",
        "licence": "of its owner",
    }
    told = [f"{out}: trained on {about['data']}"]
    if len(np.unique(corpus.debates)) > 1:
        scores = across_debates(corpus, vectors)[""]
        told.append(
            f"pair accuracy on left-out debates {accuracy(corpus, scores)}, longer wins"
            f" {accuracy(corpus, corpus.lengths)}, gain {gain(corpus, scores, corpus.lengths)}"
        )
    else:
        told.append("one debate only: nothing is left out to measure the judge on")
    model = train(corpus, vectors).model_copy(update={"about": about})
    save_linear(model, out)
    return told
