"""The program of the process that runs checks; started as a file, imports nothing of ours.

It reads requests (one JSON object a line) from its standard input and forks a child
for each, which is cheap because the interpreter is already up. The child gives up
whatever it could do harm with before it sees the code: no new file descriptor can be
opened (so no file, socket or pipe), no process started, nothing written, and memory
and processor time are bounded by the kernel; a root process becomes `nobody`. An audit
hook refuses what needs no descriptor (kill, unlink, rename). These are limits for
code that may be wrong or careless, and a second wall against code that is hostile;
they are no virtual machine.
"""

import importlib
import io
import json
import os
import re
import resource
import select
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MAY_IMPORT = (
    "_strptime",
    "base64",
    "bisect",
    "calendar",
    "collections",
    "datetime",
    "decimal",
    "difflib",
    "fractions",
    "functools",
    "hashlib",
    "html",
    "itertools",
    "math",
    "operator",
    "random",
    "statistics",
    "string",
    "textwrap",
    "unicodedata",
)
Answer = tuple[bool | None, str]
_NOBODY = 65534
_MAX_ANSWER = 64 * 1024
# What changes something outside without a descriptor and without raising an audit event.
_UNAUDITED = (
    "mkfifo",
    "mknod",
    "sched_setaffinity",
    "sched_setparam",
    "sched_setscheduler",
    "setpriority",
)
_HARMLESS = frozenset(
    {
        "builtins.id",
        "code.__new__",
        "compile",
        "exec",
        "function.__new__",
        "import",
        "object.__delattr__",
        "object.__getattr__",
        "object.__setattr__",
        "sqlite3.connect",
        "sqlite3.connect/handle",
        "sys._getframe",
        "sys.excepthook",
        "sys.unraisablehook",
        "time.sleep",
    }
)


def main() -> None:
    """Serve checks until the standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Before any fork, since a child can open no file: what a check may import.
    for module in _MAY_IMPORT:
        importlib.import_module(module)
    prepared: set[str] = set()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if request["lang"] == "jsonschema" and "jsonschema" not in prepared:
            _prepare_jsonschema()
            prepared.add("jsonschema")
        answer = _run_in_child(request)
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


def _prepare_jsonschema() -> None:
    import jsonschema
    import jsonschema.exceptions

    # Meta-schemas are read from files when first used, which a child could not do.
    jsonschema.Draft202012Validator.check_schema({"type": "object"})


def _run_in_child(request: dict[str, Any]) -> Answer:
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(receive)
            _become_harmless(request, send)
            answer = json.dumps(_decide(request)).encode()
            os.write(1, answer[:_MAX_ANSWER])
            code = 0
        except BaseException:  # noqa: BLE001  The parent reads the silence; the child must not live on.
            code = 1
        finally:
            os._exit(code)
    os.close(send)
    try:
        raw, overdue = _read_answer(receive, request["seconds"])
    finally:
        os.close(receive)
    if overdue:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if overdue:
        return None, f"took longer than {request['seconds']:g} s"
    try:
        passed, detail = json.loads(raw)
    except ValueError:
        return None, _cause(status, request)
    if passed not in (True, False, None):
        return None, "the answer was no verdict"
    return passed, str(detail).partition("\n")[0][:500]


def _read_answer(receive: int, seconds: float) -> tuple[bytes, bool]:
    deadline = time.monotonic() + seconds
    raw = b""
    while len(raw) <= _MAX_ANSWER:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([receive], [], [], left)[0]:
            return raw, True
        chunk = os.read(receive, 65536)
        if not chunk:
            break
        raw += chunk
    return raw, False


def _cause(status: int, request: dict[str, Any]) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU or number == signal.SIGKILL:
            return f"took longer than {request['seconds']:g} s of processor time"
        return f"ended by signal {signal.Signals(number).name}"
    return "ended without a verdict"


def _become_harmless(request: dict[str, Any], send: int) -> None:
    os.dup2(send, 1)
    os.close(0)
    os.close(2)
    os.closerange(3, 16)
    os.chdir("/")
    used = 0
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        pass  # Not Linux: the limit is then counted from nothing, as given.
    memory = used + request["memory_bytes"]
    seconds = int(request["seconds"]) + 1
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        try:
            resource.setrlimit(kind, (limit, limit))
        except (OSError, ValueError):
            if kind == resource.RLIMIT_NOFILE:
                raise
    # What a check prints must not stand where its verdict is read.
    sys.stdout = sys.stderr = io.StringIO()
    for name in _UNAUDITED:
        for module in (os, sys.modules[os.name]):
            if hasattr(module, name):
                delattr(module, name)
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _HARMLESS and not event.startswith("sqlite3.enable"):
        raise PermissionError(f"a check may not do this: {event}")


def _decide(request: dict[str, Any]) -> Answer:
    try:
        return _LANGUAGES[request["lang"]](request["code"], request["subject"])
    except MemoryError:
        return None, f"needed more than {request['memory_bytes'] // 2**20} MiB"
    except RecursionError:
        return None, "recursed too deeply"
    except BaseException as error:  # noqa: BLE001  Whatever a check raises, it decided nothing.
        return None, f"{type(error).__name__}: {error}"


def _python(code: str, subject: Any) -> Answer:
    space = {"__name__": "check", "subject": subject}
    try:
        exec(compile(code, "<check>", "exec"), space)  # noqa: S102  Running code is the purpose here.
        answer = space["check"](subject) if callable(space.get("check")) else True
    except AssertionError as error:
        return False, str(error) or "an assertion failed"
    if isinstance(answer, tuple) and len(answer) == 2:
        return None if answer[0] is None else bool(answer[0]), str(answer[1])
    return None if answer is None else bool(answer), ""


def _regex(code: str, subject: Any) -> Answer:
    text = subject if isinstance(subject, str) else json.dumps(subject, ensure_ascii=False)
    found = re.search(code, text) is not None
    return found, "" if found else "the pattern was not found"


def _jsonschema(code: str, subject: Any) -> Answer:
    import jsonschema
    from jsonschema.exceptions import best_match

    schema = json.loads(code)
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        return None, f"the schema is invalid: {error.message}"
    worst = best_match(jsonschema.Draft202012Validator(schema).iter_errors(subject))
    return worst is None, "" if worst is None else f"{worst.json_path}: {worst.message}"


def _sql(code: str, subject: Any) -> Answer:
    database = sqlite3.connect(":memory:")
    for name, rows in subject.items() if isinstance(subject, dict) else ():
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            _load_table(database, name, rows)
    database.set_authorizer(_only_reading)
    row = database.execute(code, {"subject": json.dumps(subject)}).fetchone()
    if row is None or row[0] is None:
        return None, "the query returned nothing"
    return bool(row[0]), "" if row[0] else "the query said no"


def _load_table(database: sqlite3.Connection, name: str, rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    quoted = ", ".join(_quoted(column) for column in columns)
    database.execute(f"CREATE TABLE {_quoted(name)} ({quoted})")
    database.executemany(
        f"INSERT INTO {_quoted(name)} VALUES ({', '.join('?' * len(columns))})",
        [[_cell(row.get(column)) for column in columns] for row in rows],
    )


def _quoted(name: str) -> str:
    return '"' + str(name).replace('"', '""') + '"'


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (dict, list)) else value


def _only_reading(action: int, *_: str | None) -> int:
    allowed = {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


_LANGUAGES: dict[str, Callable[[str, Any], Answer]] = {
    "python": _python,
    "regex": _regex,
    "jsonschema": _jsonschema,
    "sql": _sql,
}

if __name__ == "__main__":
    main()
