"""What a model server's log says of its end, and what to do about it; reads only its last part."""

import os
from pathlib import Path

_TAIL_BYTES = 64_000
# What a line of vLLM's log holds, in small letters, and what to do about it; the first that fits.
_ADVICE = (
    ("out of memory", "give it less: a smaller model, '--max-model-len', or more GPUs"),
    ("free memory on device", "lower '--gpu-memory-utilization', or stop what else uses the GPU"),
    ("no available memory for the cache", "raise '--gpu-memory-utilization'"),
    ("kv cache memory", "lower '--max-model-len', or raise '--gpu-memory-utilization'"),
    ("address already in use", "take 'port' out, or stop what listens there"),
    ("failed to infer device type", "this machine shows no GPU to vLLM"),
    ("no module named", "install vLLM again: pip install 'repertory[vllm]'"),
    ("unrecognized arguments", "correct 'arguments' in the manifest"),
    ("is not a local folder", "correct 'model' in the manifest: a folder, or a name on the hub"),
    ("offlinemodeisenabled", "correct 'model' in the manifest: a folder, or a name on the hub"),
    ("gated repo", "hand on a token of the hub: 'env: [HF_TOKEN]'"),
)
_NO_REASON = ("root cause", "traceback", "engine core initialization failed", "^", 'file "')


def last_words(log: Path) -> str:
    """The last line, short; "" where there is none."""
    lines = _tail(log)
    return lines[-1] if lines else ""


def why_it_ended(log: Path) -> str:
    """The line that tells why it ended: one that is known, else the last one that names an error."""
    lines = _tail(log)
    for line in reversed(lines):
        if any(sign in line.lower() for sign, _ in _ADVICE):
            return line
    for line in reversed(lines):
        small = line.lower()
        if "error" in small and not any(sign in small for sign in _NO_REASON):
            return line
    return lines[-1] if lines else ""


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
    return [line[-300:] for line in lines if line]
