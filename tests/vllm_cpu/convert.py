"""Write the embedded model's GGUF as the safetensors that vLLM reads.

Runs in the environment of vLLM (`install` says how it is made), offline:
`python convert.py FILE.gguf FOLDER`. The tokenizer and the chat template come along.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def main() -> None:
    """Convert the file that is named first into the folder that is named second."""
    gguf, folder = Path(sys.argv[1]), Path(sys.argv[2])
    # Only this environment has it.
    transformers: Any = import_module("transformers")
    config = transformers.GgufConfig(dequantize=True)
    given = {"gguf_file": gguf.name, "local_files_only": True}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(gguf.parent), quantization_config=config, **given
    )
    unfinished = folder.with_suffix(".part")
    model.save_pretrained(unfinished)
    transformers.AutoTokenizer.from_pretrained(str(gguf.parent), **given).save_pretrained(
        unfinished
    )
    unfinished.rename(folder)


if __name__ == "__main__":
    main()
