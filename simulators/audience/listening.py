"""The agent that plays one audience: it compares the candidates as that audience would."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio.to_thread

from repertory.agents import Agent, AgentSpec, TierError, Turn

from .comparing import Pair, all_pairs, rated_pairs, sorted_pairs
from .exchange import Data, Options, data_in, end, minilm, read_options, scenario_in
from .judges import FeatureJudge, Judge, PairwiseJudge, ReactionJudge
from .linear import LinearModel, load_linear
from .scenario import Audience, Scenario

# A model that judges is asked about all pairs of so many candidates; of more, sorted ones.
_FEW = 8


class AudienceOptions(Options):
    """How an audience judges.

    judge: `features` without a model, `reaction` by a model of tier score, `pairwise` by
    one of tier judge, `auto` pairwise if the model may judge and features else.
    primitive: pairs in both orders, or a rating scale. budget: all pairs, or as many as a
    merge sort asks. meaning: whether the feature judge reads meaning, which needs the
    embedder's files. trained: a judge of your own, as `repertory audience-judge` writes it.
    """

    judge: Literal["auto", "features", "reaction", "pairwise"] = "auto"
    primitive: Literal["pairs", "scale"] = "pairs"
    budget: Literal["auto", "all", "sorted"] = "auto"
    meaning: bool = True
    trained: str = ""


class AudienceMember(Agent):
    """Play one audience: compare the candidates as it would."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self._options = read_options(AudienceOptions, spec)
        self._model: LinearModel | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Read the trained judge, where one is used."""
        if self._options.judge in ("auto", "features"):
            self._model = await anyio.to_thread.run_sync(self._trained)
        yield

    def _trained(self) -> LinearModel:
        if self._options.trained:
            return load_linear(Path(self.spec.folder, self._options.trained).expanduser())
        name = "judge_meaning.json" if self._options.meaning else "judge_surface.json"
        return load_linear(Path(__file__).with_name(name))

    async def handle(self, turn: Turn) -> None:
        scenario, data = scenario_in(turn), data_in(turn)
        audience = Audience.model_validate(data["audience"])
        texts = [str(text) for text in data["texts"]]
        kind = self._options.judge
        if kind == "auto":
            try:
                heard = await self._hear("pairwise", turn, scenario, audience, texts)
            except TierError:
                heard = await self._hear("features", turn, scenario, audience, texts)
        else:
            heard = await self._hear(kind, turn, scenario, audience, texts)
        await end(turn, heard)

    def _judge(self, kind: str, turn: Turn) -> Judge:
        if kind == "pairwise":
            return PairwiseJudge(turn)
        if kind == "reaction":
            return ReactionJudge(turn)
        assert self._model is not None, "open() reads the judge"
        return FeatureJudge(self._model, minilm() if self._model.embedder else None)

    async def _hear(
        self, kind: str, turn: Turn, scenario: Scenario, audience: Audience, texts: Sequence[str]
    ) -> Data:
        judge = self._judge(kind, turn)
        bench: Any = await judge.sit(scenario, audience, texts)
        n, budget = len(texts), self._options.budget
        ratings: list[float] = []
        if self._options.primitive == "scale":
            ratings, pairs = await rated_pairs(bench, n)
        elif budget == "sorted" or (budget == "auto" and kind == "pairwise" and n > _FEW):
            pairs = await sorted_pairs(bench, n)
        else:
            pairs = await all_pairs(bench, n)
        if kind != "pairwise":
            # One score per text answers both orders alike: that is no evidence about place.
            pairs = [_by_itself(pair) for pair in pairs]
        return {
            "audience": audience.name,
            "judge": judge.name,
            "pairs": [pair.wire() for pair in pairs],
            "ratings": ratings,
            "words": {str(i): words for i, words in bench.words.items()},
            "questions": getattr(judge, "questions", 0),
            "about": dict(self._model.about) if self._model and kind == "features" else {},
        }


def _by_itself(pair: Pair) -> Pair:
    return Pair(pair.a, pair.b, pair.share, pair.confidence, None, pair.inferred, (), pair.reason)
