import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio import fail_after, to_thread

from repertory.agents import (
    ChatMessage,
    ChatRequest,
    EmbeddedModel,
    ModelRefusedError,
    ModelUnavailableError,
    ScoreRequest,
    Tier,
    open_embedded_model,
)
from repertory.xp_store import SMOLLM2, missing_weights
from tests.agents.model_contract import CHECKS, chat

needs_weights = [
    pytest.mark.model,
    pytest.mark.skipif(
        bool(missing_weights((SMOLLM2,))), reason="run `repertory models install` first"
    ),
]

INVOICE = {
    "type": "object",
    "properties": {
        "vendor": {"type": "string"},
        "number": {"type": "string"},
        "total": {"type": "number"},
    },
    "required": ["vendor", "number", "total"],
    "additionalProperties": False,
}
REVIEWS = (
    ("Great sound, my kids love it.", "positive"),
    ("Broke after two days, waste of money.", "negative"),
    ("Exactly what I wanted, works perfectly.", "positive"),
    ("Terrible quality and no answer from support.", "negative"),
)
PARENT = """
import anyio
from repertory.agents import open_embedded_model

async def main():
    async with open_embedded_model() as model:
        await model.probe()
        print(model.process_id, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop for the module, so that its tests share one child process."""
    return "asyncio"


@pytest.fixture(scope="module")
async def embedded(anyio_backend: str) -> AsyncIterator[EmbeddedModel]:
    """SmolLM2, loaded once."""
    async with open_embedded_model() as model:
        yield model


class TestWithWeights:
    """What needs the real model; the figures behind the margins are in docs and models."""

    pytestmark = needs_weights

    async def test_it_keeps_the_contract_of_models(self, embedded: EmbeddedModel) -> None:
        """Ours: the same checks as for every other engine, on the real one."""
        with fail_after(60):
            for check in CHECKS:
                await check(embedded)

    async def test_it_extracts_fields_by_schema(self, embedded: EmbeddedModel) -> None:
        """Ours: extraction is what its tier promises."""
        text = (
            "Extract vendor, invoice number and total as JSON.\n\n"
            "Invoice 4711 of ACME Tools GmbH, Berlin. Amount due: EUR 1,250.00 by 30 June."
        )
        request = ChatRequest(
            messages=(ChatMessage(role="user", content=text),),
            duty=Tier.EXTRACT,
            json_schema=INVOICE,
            max_tokens=120,
        )
        with fail_after(60):
            result = await embedded.chat(request)
        assert result.parsed is not None
        assert "ACME" in result.parsed["vendor"]
        assert result.parsed["number"] == "4711"
        assert result.tiers == {Tier.SCORE, Tier.EXTRACT}

    async def test_it_ranks_texts_by_few_shot_scores(self, embedded: EmbeddedModel) -> None:
        """Ours: the order of margins is what scoring is for; their sign alone is biased."""
        texts = (
            "I really enjoyed this, five stars.",
            "It stopped working and I want my money back.",
        )
        margins = []
        with fail_after(60):
            for text in texts:
                scores = await embedded.score(
                    ScoreRequest(
                        text=text,
                        labels=("positive", "negative"),
                        examples=REVIEWS,
                        text_name="Review",
                        label_name="Sentiment",
                    )
                )
                assert scores.bounded == ()
                margins.append(scores.margin("positive"))
        # 1.4 apart as measured; 0.3 leaves room for another release of the engine.
        assert margins[0] > margins[1] + 0.3

    async def test_the_same_question_has_the_same_answer(self, embedded: EmbeddedModel) -> None:
        """Ours: also at a temperature, and beside other questions; runs can be repeated."""
        texts: list[str] = []

        async def ask() -> None:
            request = chat("Say a color.", temperature=0.8, seed=7, max_tokens=8)
            texts.append((await embedded.chat(request)).text)

        with fail_after(60):
            await ask()
            async with anyio.create_task_group() as tasks:
                for _ in range(2):
                    tasks.start_soon(ask)
        assert len(set(texts)) == 1

    async def test_a_context_too_long_is_refused(self, embedded: EmbeddedModel) -> None:
        """Ours: nothing is cut off in silence."""
        with fail_after(60), pytest.raises(ModelRefusedError, match="longer context"):
            await embedded.chat(chat("word " * 6000))

    async def test_a_child_that_died_is_started_again(self, embedded: EmbeddedModel) -> None:
        """Ours: a crash of the engine costs a second and not the network."""
        with fail_after(60):
            await embedded.probe()
            first = embedded.process_id
            assert first is not None
            os.kill(first, signal.SIGKILL)
            assert (await embedded.chat(chat(max_tokens=2))).text
        assert embedded.process_id not in (None, first)

    @pytest.mark.skipif(sys.platform != "linux", reason="waits for a foreign process by pidfd")
    async def test_the_child_dies_with_its_parent(self) -> None:
        """Ours: kill -9 of a network leaves no process behind."""
        start = partial(
            subprocess.Popen, [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True
        )
        with fail_after(60), await to_thread.run_sync(start) as parent:
            assert parent.stdout is not None
            child = os.pidfd_open(int(await to_thread.run_sync(parent.stdout.readline)))
            try:
                parent.kill()
                # A pidfd is readable when its process has ended.
                await anyio.wait_readable(child)
            finally:
                os.close(child)


async def test_missing_weights_are_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: a fresh machine is told the one command that it needs."""
    monkeypatch.setenv("REPERTORY_CACHE", str(tmp_path))
    async with open_embedded_model() as model:
        health = await model.probe()
        with pytest.raises(ModelUnavailableError, match="repertory models install"):
            await model.chat(chat())
    assert not health.answers
    assert "repertory models install" in health.detail


async def test_weights_that_are_no_model_are_said(tmp_path: Path) -> None:
    """Ours: the engine's own failure arrives as a sentence, and leaves no process."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF but not really")
    with fail_after(30):
        async with open_embedded_model(weights=broken) as model:
            with pytest.raises(ModelUnavailableError, match="did not start"):
                await model.chat(chat())
            assert model.process_id is None


async def test_a_closed_model_starts_nothing() -> None:
    """Ours: a late question does not bring a process back that nobody would end."""
    async with open_embedded_model() as model:
        pass
    with pytest.raises(ModelUnavailableError, match="was closed"):
        await model.chat(chat())
