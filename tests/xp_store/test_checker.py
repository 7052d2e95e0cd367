"""Checks run in a process of their own, and decide nothing when they misbehave."""

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from repertory.xp_store import (
    Checker,
    CheckError,
    CheckSpec,
    Limits,
    Verdict,
    open_checker,
    run_check,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="checks need fork and rlimits")


@pytest.fixture
async def checker() -> AsyncIterator[Checker]:
    """A checker with little patience."""
    async with open_checker(Limits(seconds=0.4, memory_mib=64)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("lang", "code", "subject", "passed"),
    [
        ("python", "assert subject['a'] == 1", {"a": 1}, True),
        ("python", "assert subject['a'] == 2", {"a": 1}, False),
        ("python", "def check(s):\n    return s > 1, 'small'", 1, False),
        ("python", "def check(s):\n    return s > 1", 2, True),
        ("python", "def check(s):\n    return None", 2, None),
        ("python", "import decimal, datetime, re\nprint('x' * 99999)\nassert re", {}, True),
        ("regex", r"^INV-\d+$", "INV-17", True),
        ("regex", r"^INV-\d+$", "17", False),
        ("regex", '"total": 12', {"total": 12}, True),
        ("jsonschema", '{"type": "object", "required": ["a"]}', {"a": 1}, True),
        ("jsonschema", '{"type": "object", "required": ["b"]}', {"a": 1}, False),
        ("sql", "SELECT sum(net) = 3 FROM lines", {"lines": [{"net": 1}, {"net": 2}]}, True),
        ("sql", "SELECT json_extract(:subject, '$.total') > 5", {"total": 4}, False),
        ("sql", "SELECT 1 WHERE 0", {}, None),
    ],
)
async def test_each_language_has_one_meaning_of_passed(
    checker: Checker, lang: Any, code: str, subject: Any, passed: bool | None
) -> None:
    """Ours: True, False, or None when the check could not decide."""
    spec = CheckSpec("check", lang, code)
    verdict = await checker.run(spec, subject)
    assert (verdict.name, verdict.passed, verdict.digest) == ("check", passed, spec.digest)
    assert Verdict.parse(verdict.wire()) == verdict


@pytest.mark.parametrize(
    ("lang", "code", "detail"),
    [
        ("python", "while True: pass", "took longer than 0.4 s"),
        ("regex", "^(a+)+$", "took longer than 0.4 s"),
        (
            "sql",
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c",
            "took longer than 0.4 s",
        ),
        ("python", "'x' * 10**9", "needed more than 64 MiB"),
        ("python", "1 / 0", "ZeroDivisionError"),
        ("python", "raise SystemExit", "SystemExit"),
        ("python", "def check(s): return check(s)", "recursed too deeply"),
        ("python", "no python", "SyntaxError"),
        ("python", "import os; os._exit(0)", "ended without a verdict"),
        ("python", "import os; os.kill(os.getppid(), 9)", "may not do this: os.kill"),
        ("python", "import os; os.fork()", "may not do this: os.fork"),
        ("python", "import os; os.remove('/tmp/none')", "may not do this: os.remove"),
        ("python", "import subprocess", "No module named 'subprocess'"),
        ("regex", "(", "unterminated subpattern"),
        ("jsonschema", '{"type": "thing"}', "the schema is invalid"),
        ("jsonschema", '{"$ref": "http://127.0.0.1:9/x.json"}', "Unresolvable"),
        ("jsonschema", "{", "JSONDecodeError"),
        ("sql", "DROP TABLE lines", "not authorized"),
        ("sql", "ATTACH 'x.db' AS other", "not authorized"),
    ],
)
async def test_a_check_that_breaks_a_limit_or_itself_decides_nothing(
    checker: Checker, lang: Any, code: str, detail: str
) -> None:
    """Ours: only True and False move trust, so a broken check must not say either."""
    subject = "a" * 40 + "b" if lang == "regex" else {"lines": [{"net": 1}]}
    verdict = await checker.run(CheckSpec("check", lang, code), subject)
    assert verdict.passed is None
    assert detail in verdict.detail
    good = await checker.run(CheckSpec("good", "python", "assert True"), {})
    assert good.passed is True, "the checker serves on"


async def test_a_check_reaches_no_file_and_no_network(checker: Checker, tmp_path: Path) -> None:
    """Ours: the kernel gives a check no new descriptor, whatever it imports or closes."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    around = (
        "modules = [c for c in object.__subclasses__() if c.__name__ == '_wrap_close']\n"
        "os = modules[0].__init__.__globals__\n"
    )
    for code, refusal in (
        (f"open({str(secret)!r}).read()", "may not do this: open"),
        (f"import os; os.open({str(secret)!r}, 0)", "may not do this: open"),
        (f"{around}os['open']({str(secret)!r}, 0)", "may not do this: open"),
        # The standard input and error are closed, so their numbers are free for the taking.
        (f"{around}os['pipe']()", "Too many open files"),
        (f"{around}os['mkfifo']({str(tmp_path / 'fifo')!r})", "KeyError: 'mkfifo'"),
        ("import posix; posix.mkfifo('/tmp/fifo')", "has no attribute 'mkfifo'"),
    ):
        verdict = await checker.run(CheckSpec("file", "python", code), {})
        assert verdict.passed is None, code
        assert refusal in verdict.detail, code
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}))"
        assert (await checker.run(CheckSpec("net", "python", code), {})).passed is None
        with pytest.raises(BlockingIOError):
            listener.accept()


async def test_one_process_serves_many_checks(checker: Checker) -> None:
    """Ours: starting an interpreter costs more than a check."""
    spec = CheckSpec("who", "python", "import os\ndef check(s): return True, str(os.getppid())")
    parents = {(await checker.run(spec, {})).detail for _ in range(5)}
    assert len(parents) == 1
    assert parents != {str(os.getpid())}


async def test_checks_run_beside_each_other(checker: Checker) -> None:
    """Ours: a slow check holds up its own process only."""
    finished: list[str] = []

    async def run(name: str, code: str) -> None:
        await checker.run(CheckSpec(name, "python", code), {})
        finished.append(name)

    async with anyio.create_task_group() as group:
        group.start_soon(run, "slow", "while True: pass")
        group.start_soon(run, "quick", "assert True")
    assert finished == ["quick", "slow"]


async def test_a_cancelled_check_does_not_answer_the_next_question(checker: Checker) -> None:
    """Ours: an answer belongs to its question."""
    with anyio.move_on_after(0.05):
        await checker.run(CheckSpec("slow", "python", "while True: pass"), {})
    verdict = await checker.run(CheckSpec("next", "python", "assert False, 'mine'"), {})
    assert (verdict.passed, verdict.detail) == (False, "mine")


async def test_a_killed_process_is_replaced(checker: Checker) -> None:
    """Ours: the process that runs checks may die like any other."""
    spec = CheckSpec("who", "python", "import os\ndef check(s): return True, str(os.getppid())")
    first = (await checker.run(spec, {})).detail
    os.kill(int(first), 9)
    second = await checker.run(spec, {})
    assert second.passed is True
    assert second.detail != first


@pytest.mark.parametrize(
    ("spec", "subject", "sentence"),
    [
        (CheckSpec("c", "ruby", "1"), {}, "known: python, jsonschema, regex, sql"),  # type: ignore[arg-type]  # what a manifest may say
        (CheckSpec("c", "python", "#" * 70_000), {}, "the code of check 'c' has 70000 bytes"),
        (CheckSpec("c", "python", "1"), "x" * 2**20, "the subject of check 'c' has"),
        (CheckSpec("c", "python", "1"), {1, 2}, "the subject of check 'c' is not JSON"),
    ],
)
async def test_a_check_that_cannot_be_run_is_an_error(
    spec: CheckSpec, subject: Any, sentence: str
) -> None:
    """Ours: what could not be run says nothing about its subject."""
    with pytest.raises(CheckError, match=sentence):
        await run_check(spec, subject)


async def test_one_check_may_be_run_alone() -> None:
    """Ours: without holding a checker."""
    verdict = await run_check(CheckSpec("c", "python", "assert subject"), [1])
    assert verdict.passed is True
