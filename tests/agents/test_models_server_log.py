from pathlib import Path

import pytest

from repertory.agents.models.server_log import advice_for, log_tail, start_phase, why_it_ended

STARTED = Path(__file__).parent / "fixtures" / "vllm_start.log"
NO_MEMORY = Path(__file__).parent / "fixtures" / "vllm_no_memory.log"


def test_the_phases_of_a_real_start_are_told_in_their_order(tmp_path: Path) -> None:
    """Spec: vLLM 0.32's log of a start on a CPU, seen after each of its lines."""
    log, seen = tmp_path / "vllm.log", [""]
    for line in STARTED.read_text("utf-8").splitlines(keepends=True):
        with log.open("a", encoding="utf-8") as file:
            file.write(line)
        if (phase := start_phase(log)) != seen[-1]:
            seen.append(phase)
    assert seen == [
        "",
        "reading the configuration",
        "starting the engine",
        "loading the model",
        "loading weights, 0%",
        "loading weights, 100%",
        "making room for the cache",
        "warming up",
        "opening its port",
    ]


def test_a_progress_bar_without_an_end_of_line_is_read(tmp_path: Path) -> None:
    """Ours: a bar writes over its own line, and the last of it counts."""
    log = tmp_path / "vllm.log"
    log.write_bytes(b"x\nLoading safetensors checkpoint shards:  25% |..\r" * 2)
    with log.open("ab") as file:
        file.write(b"Loading safetensors checkpoint shards:  75% Completed | 3/4")
    assert start_phase(log) == "loading weights, 75%"
    assert log_tail(log, 1) == ["Loading safetensors checkpoint shards:  75% Completed | 3/4"]


def test_a_pydantic_error_is_told_with_what_is_wrong(tmp_path: Path) -> None:
    """Spec: vLLM 0.32's words for a wrong '--max-model-len'; the first line names only a class."""
    log = tmp_path / "vllm.log"
    log.write_text(
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, User-specified max_model_len (999999) is greater than the derived"
        " max_model_len (8192).\n"
    )
    why = why_it_ended(log)
    assert why.endswith("is greater than the derived max_model_len (8192).")
    assert "--max-model-len" in advice_for(why)


def test_a_warning_that_names_an_error_is_no_reason() -> None:
    """Spec: vLLM 0.32 warns of `OSError` at every start; a killed server has no last words."""
    assert "can cause fd limit errors like `OSError" in STARTED.read_text("utf-8")
    assert why_it_ended(STARTED) == ""


def test_a_log_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    """Ours: nobody fails over a log that was not begun."""
    assert start_phase(tmp_path / "none") == ""
    assert log_tail(tmp_path / "none", 5) == []
    assert why_it_ended(tmp_path / "none") == ""


def test_the_reason_is_told_without_what_stands_before_it(tmp_path: Path) -> None:
    """Ours: the process, the time and the file of a line are no reason; a traceback's end is one."""
    log = tmp_path / "vllm.log"
    log.write_text(
        "(EngineCore pid=7) ERROR 12-01 11:54:57 [core.py:900] ValueError: it does not fit\n"
        "(APIServer pid=6) RuntimeError: Engine core initialization failed. See root cause above.\n"
    )
    assert why_it_ended(log) == "ValueError: it does not fit"


def test_the_cause_of_a_real_failure_is_found_below_its_tracebacks() -> None:
    """Spec: vLLM 0.32's log of a start without enough memory; three processes tell their own end."""
    why = why_it_ended(NO_MEMORY)
    assert why.startswith("ValueError: Available memory on node 0 (13.13/17.21 GiB)")
    assert "--gpu-memory-utilization" in advice_for(why)
    assert log_tail(NO_MEMORY, 1)[0].startswith("RuntimeError: Engine core initialization failed")


@pytest.mark.parametrize(
    "line", ["ValueError: unheard of", "pydantic_core.ValidationError: 1 error", "KeyError"]
)
def test_an_exception_that_nobody_knows_is_told_and_not_the_line_that_raises_it(
    tmp_path: Path, line: str
) -> None:
    """Ours: `raise RuntimeError(` stands last in many a log and says nothing."""
    log = tmp_path / "vllm.log"
    log.write_text(f"Traceback (most recent call last):\n{line}\n    raise RuntimeError(\n")
    assert why_it_ended(log) == line


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "--max-model-len"),
        ("OSError: [Errno 98] Address already in use", "take 'port' out"),
        ("a line that nobody knows", ""),
    ],
)
def test_what_to_do_is_known_for_what_often_goes_wrong(words: str, advice: str) -> None:
    """Ours: an operator need not look the words up."""
    told = advice_for(words)
    assert advice in told
    assert bool(told) == bool(advice)
