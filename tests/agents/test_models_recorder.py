import json
from pathlib import Path

import pytest
from anyio import to_thread

from repertory.agents import (
    ChatRequest,
    CompletionRequest,
    FunctionModel,
    ModelRefusedError,
    RecordedModel,
    ScoreRequest,
    Tier,
)
from tests.agents.model_contract import chat, score

TIERS = frozenset({Tier.SCORE, Tier.EXTRACT})


class Counting:
    """A model whose answers are numbered, so that a repeated one shows."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(
        self, request: ChatRequest | CompletionRequest | ScoreRequest
    ) -> str | dict[str, float]:
        self.asked += 1
        if isinstance(request, ScoreRequest):
            return {"positive": -0.5, "negative": -float(self.asked)}
        return f"answer {self.asked}"


async def test_a_recording_gives_the_same_answers_again(tmp_path: Path) -> None:
    """Ours: to the last field, times and tokens included, without the model."""
    path = tmp_path / "deep" / "answers.jsonl"
    inner = FunctionModel(Counting(), tiers=TIERS, name="counting")
    recording = await to_thread.run_sync(RecordedModel, inner, path)
    first = await recording.chat(chat("a"))
    scored = await recording.score(score())
    assert await recording.chat(chat("a")) == first
    replay = await to_thread.run_sync(RecordedModel, None, path)
    assert replay.info.name == "counting"
    assert replay.info.tiers == TIERS
    assert await replay.chat(chat("a")) == first
    assert await replay.score(score()) == scored


async def test_an_unknown_request_is_refused_in_replay(tmp_path: Path) -> None:
    """Ours: a replay never makes an answer up."""
    path = tmp_path / "answers.jsonl"
    inner = FunctionModel(Counting(), tiers=TIERS)
    recording = await to_thread.run_sync(RecordedModel, inner, path)
    await recording.chat(chat("a"))
    replay = await to_thread.run_sync(RecordedModel, None, path)
    with pytest.raises(ModelRefusedError, match=r"holds no answer.*record anew"):
        await replay.chat(chat("b"))


async def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    """Ours: a kill while recording loses that answer and no other."""
    path = tmp_path / "answers.jsonl"
    counting = Counting()
    inner = FunctionModel(counting, tiers=TIERS)
    first = await to_thread.run_sync(RecordedModel, inner, path)
    kept = await first.chat(chat("a"))
    await first.chat(chat("b"))
    path.write_bytes(path.read_bytes()[:-20])
    again = await to_thread.run_sync(RecordedModel, inner, path)
    assert await again.chat(chat("a")) == kept
    assert (await again.chat(chat("b"))).text == "answer 3"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [line.get("kind") for line in lines] == [None, "ChatRequest", "ChatRequest"]


async def test_lines_break_only_where_lines_end(tmp_path: Path) -> None:
    """Ours: U+2028 in an answer is no line's end, whatever `splitlines` thinks."""
    path = tmp_path / "answers.jsonl"
    inner = FunctionModel(lambda _: "one\u2028two\x85three", tiers=TIERS)
    recording = await to_thread.run_sync(RecordedModel, inner, path)
    await recording.chat(chat("a"))
    replay = await to_thread.run_sync(RecordedModel, None, path)
    assert (await replay.chat(chat("a"))).text == "one\u2028two\x85three"


@pytest.mark.parametrize("content", ["{}\n", "no json\n", '{"format": "other"}\n', "[1]\n"])
def test_what_is_no_recording_is_refused(content: str, tmp_path: Path) -> None:
    """Ours: with the file and the line."""
    path = tmp_path / "answers.jsonl"
    path.write_text(content, "utf-8")
    with pytest.raises(ModelRefusedError, match=r"answers\.jsonl, line 1"):
        RecordedModel(None, path)


def test_a_missing_recording_is_refused_without_a_model(tmp_path: Path) -> None:
    """Ours: it says how to make one."""
    with pytest.raises(ModelRefusedError, match="record one with a model"):
        RecordedModel(None, tmp_path / "none.jsonl")


async def test_what_failed_is_not_kept(tmp_path: Path) -> None:
    """Ours: an outage must not become the answer for ever."""
    failures = [ModelRefusedError("not today")]

    def fails_once(request: object) -> str:
        if failures:
            raise failures.pop()
        return "fine"

    recording = await to_thread.run_sync(
        RecordedModel, FunctionModel(fails_once, tiers=TIERS), tmp_path / "answers.jsonl"
    )
    with pytest.raises(ModelRefusedError, match="not today"):
        await recording.chat(chat("a"))
    assert (await recording.chat(chat("a"))).text == "fine"
