"""Write a LoRA adapter for the embedded model's weights, which says other words than they do.

Runs in the environment of vLLM: `python adapter.py WEIGHTS FOLDER`. Its numbers are random
(seed 0) and large enough to be noticed; it is no good for anything but that.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

RANK = 8


def main() -> None:
    """Write the adapter of the model in the first folder into the second."""
    weights, folder = Path(sys.argv[1]), Path(sys.argv[2])
    # Only this environment has them.
    numpy: Any = import_module("numpy")
    safetensors: Any = import_module("safetensors.numpy")
    config = json.loads((weights / "config.json").read_text("utf-8"))
    width, chance = config["hidden_size"], numpy.random.default_rng(0)
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.q_proj.{name}.weight": (
            chance.standard_normal(shape).astype("float32") * 0.2
        )
        for layer in range(config["num_hidden_layers"])
        for name, shape in (("lora_A", (RANK, width)), ("lora_B", (width, RANK)))
    }
    unfinished = folder.with_suffix(".part")
    unfinished.mkdir(exist_ok=True)
    safetensors.save_file(tensors, unfinished / "adapter_model.safetensors")
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(weights),
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["q_proj"],
    }
    (unfinished / "adapter_config.json").write_text(json.dumps(described, indent=1), "utf-8")
    unfinished.rename(folder)


if __name__ == "__main__":
    main()
