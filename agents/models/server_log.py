"""What a model server's log says of its start and of its end; reads only its last part."""

import os
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

_TAIL_BYTES = 64_000
# What a line of vLLM's log holds, in small letters, and what to do about it; the first that fits.
_ADVICE = (
    ("is less than desired", "lower '--gpu-memory-utilization', or stop what takes the memory"),
    ("out of memory", "give it less: a smaller model, '--max-model-len', or more GPUs"),
    ("no available memory for the cache", "raise '--gpu-memory-utilization'"),
    ("kv cache memory", "lower '--max-model-len', or raise '--gpu-memory-utilization'"),
    ("is in use", "take 'port' out, or stop what listens there"),
    ("address already in use", "take 'port' out, or stop what listens there"),
    ("failed to infer device type", "this machine shows no GPU to vLLM"),
    ("no module named", "install vLLM again: pip install 'repertory[vllm]'"),
    ("unrecognized arguments", "correct 'arguments' in the manifest"),
    ("is not a local folder", "correct 'model' in the manifest: a folder, or a name on the hub"),
    ("offlinemodeisenabled", "correct 'model' in the manifest: a folder, or a name on the hub"),
    ("localentrynotfounderror", "correct 'model': no such folder, and the hub may not be asked"),
    ("no adapter found for", "correct 'lora' in the manifest: a folder with an adapter"),
    ("is greater than the derived max_model_len", "lower '--max-model-len' in 'arguments'"),
    ("gated repo", "hand on a token of the hub: 'env: [HF_TOKEN]'"),
)
# What a line of vLLM's log holds, in small letters, and what it does from then on.
_PHASES = (
    ("resolved architecture", "reading the configuration"),
    ("initializing a v1 llm engine", "starting the engine"),
    ("starting to load model", "loading the model"),
    ("checkpoint shards:", "loading weights"),
    ("loading weights took", "making room for the cache"),
    ("model loading took", "making room for the cache"),
    ("dynamo bytecode transform", "compiling"),
    ("compiling a graph", "compiling"),
    ("kv cache size:", "warming up"),
    ("capturing cuda graph", "capturing graphs"),
    ("init engine (", "opening its port"),
)
_PERCENT = re.compile(r"\b(\d{1,3})%")
# `(EngineCore pid=7) ERROR 12-01 11:54:57 [core.py:133] `, of which every part may be missing.
_BEFORE = re.compile(r"^(?:\([\w -]+ pid=\d+\) )?(?:[A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\] )?")
_LONGEST = 300
_INVALID = re.compile(r"ValidationError: \d+ validation errors? for \w+$")
_HARMLESS = re.compile(r"^(?:\([\w -]+ pid=\d+\) )?(?:DEBUG|INFO|WARNING)\b")
# `ValueError: it does not fit`, and not the line that raises it.
_RAISED = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b(?::|$)")
_NO_REASON = ("root cause", "traceback", "engine core initialization failed", "^", 'file "')


def start_phase(log: Path) -> str:
    """What a server that starts is doing, with a percentage where it tells one; "" for no sign."""
    for line in reversed(_tail(log)):
        small = line.lower()
        for sign, phase in _PHASES:
            if sign in small:
                percent = _PERCENT.search(line)
                return f"{phase}, {percent[0]}" if percent and phase == "loading weights" else phase
    return ""


def log_tail(log: Path, lines: int) -> list[str]:
    """The last lines that say something, each cut where it is very long."""
    return [line[:_LONGEST] for line in _tail(log)[-lines:]]


def why_it_ended(log: Path) -> str:
    """The line that tells why it ended: one that is known, else the last error; "" for none."""
    faults = [
        line
        for line in _joined(_tail(log))
        if not _HARMLESS.match(line) and not any(sign in line.lower() for sign in _NO_REASON)
    ]
    for line in reversed(faults):
        if any(sign in line.lower() for sign, _ in _ADVICE):
            return _plain(line)
    for line in reversed(faults):
        if _RAISED.match(_plain(line).strip()):
            return _plain(line)
    for line in reversed(faults):
        if "error" in line.lower():
            return _plain(line)
    return ""


def advice_for(words: str) -> str:
    """What to do about a server that ended with these words; "" where nothing is known."""
    small = words.lower()
    return next((advice for sign, advice in _ADVICE if sign in small), "")


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    # Progress bars write over their own line.
    lines = (line.rsplit("\r", 1)[-1].strip() for line in text.split("\n"))
    return [line for line in lines if line]


def _joined(lines: list[str]) -> Iterator[str]:
    """The lines, that of a pydantic error with the one after it, which says what is wrong."""
    for line, after in zip_longest(lines, lines[1:], fillvalue=""):
        yield f"{line}: {_plain(after).strip()}" if _INVALID.search(line) else line


def _plain(line: str) -> str:
    """A line without the process, level, time and place before its words; short."""
    return (_BEFORE.sub("", line) or line)[:_LONGEST]
