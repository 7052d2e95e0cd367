import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from repertory.protocol import TaskState, user_message
from repertory.runtime.errors import Finding
from repertory.runtime.screen import Screen, clock, duration, grid, plain, short, word


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0004, "0 ms"), (0.84, "840 ms"), (12.34, "12.3 s"), (250, "4 min 10 s")],
)
def test_durations_are_told_in_the_unit_a_person_would_use(seconds: float, text: str) -> None:
    """Ours: nobody reads 0.00084 s."""
    assert duration(seconds) == text


def test_texts_are_cut_to_one_line() -> None:
    """Ours: a table's row is a row."""
    assert short("a\n b\t c") == "a b c"
    assert short("x" * 100, 10) == "x" * 9 + "…"


def test_states_are_words() -> None:
    """Ours: TASK_STATE_INPUT_REQUIRED is for the wire."""
    assert word(TaskState.INPUT_REQUIRED) == "input_required"
    assert word("ok") == "ok"


def test_a_moment_of_another_day_has_its_date() -> None:
    """Ours: 08:15 means today."""
    assert clock(0.0) == ""
    assert clock(86_400.0).startswith("1970-01-0")
    assert len(clock(datetime.now(UTC).timestamp())) == len("08:15:00")


def test_everything_shown_as_json_is_plain() -> None:
    """Ours: models in their wire form, dataclasses by field, paths as text."""
    message = user_message("x", message_id="m")
    finding = Finding("error", "f", 1, "k", "s")
    data = plain({"m": message, "f": (finding,), "p": Path("a"), "s": TaskState.FAILED, 1: None})
    assert data["m"]["messageId"] == "m"
    assert data["f"][0]["line"] == 1
    assert json.loads(json.dumps(data)) == data


def test_a_pipe_hears_results_and_warnings_but_no_progress() -> None:
    """Ours: quiet when piped."""
    out, err = io.StringIO(), io.StringIO()
    screen = Screen(out=out, err=err)
    screen.say("starting")
    screen.warn("careful")
    screen.result({"a": 1}, grid(("long name", "number>"), [("x" * 150, 7)]))
    assert err.getvalue() == "careful\n"
    assert "x" * 150 in out.getvalue()
    assert "\x1b[" not in out.getvalue()


def test_json_results_are_one_document() -> None:
    """Ours: --json is for programs."""
    out = io.StringIO()
    Screen(json=True, out=out, err=io.StringIO()).result({"a": 1}, "drawn")
    assert json.loads(out.getvalue()) == {"a": 1}
