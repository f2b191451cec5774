"""An exchange of weights with a vLLM server by NCCL beside one by the folder: seconds of each, and whether the weights
arrived, in nats. Two GPUs: one for the server, one for this process.

    CUDA_VISIBLE_DEVICES=0 groupwise serve MODEL --vllm --python vllm-env/bin/python --transfer nccl
    CUDA_VISIBLE_DEVICES=1 python benchmarks/vllm_nccl.py MODEL --url http://127.0.0.1:8000

Prints one JSON object. Nobody has run it yet.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from groupwise import VLLMServers
from groupwise.errors import UserError

TIMES = 4


def main() -> int:
    known = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("model")
    known.add_argument("--url", default="http://127.0.0.1:8000")
    chosen = known.parse_args()
    if not torch.cuda.is_available():
        print("left out: needs two GPUs, one of them here; nothing was measured")
        return 0
    model: Any = AutoModelForCausalLM.from_pretrained(chosen.model, dtype=torch.bfloat16).cuda().requires_grad_(False)
    found = {"gpu": torch.cuda.get_device_name(), "bytes": sum(each.nbytes for each in model.parameters())}
    with tempfile.TemporaryDirectory() as folder:
        for way in ("folder", "nccl"):
            found[way] = exchanges(chosen, model, way, Path(folder) / way)
    print(json.dumps(found, indent=1))
    return 0


def exchanges(chosen: argparse.Namespace, model: Any, way: Any, folder: Path) -> dict[str, Any]:
    """Changes every weight a little, gives it to the server, and has the probe score a completion; so many times."""
    engine = VLLMServers((chosen.url,), weights=str(folder), transfer=way).open(
        chosen.model, model, AutoTokenizer.from_pretrained(chosen.model), print
    )
    seconds = []
    try:
        for version in range(1, TIMES + 1):
            for weight in model.parameters():
                weight.mul_(1.001)
            began = time.perf_counter()
            engine.load(model.named_parameters(), version)
            seconds.append(round(time.perf_counter() - began, 3))
    except UserError as error:
        return {"seconds": seconds, "failed": str(error)}
    return {"seconds": seconds, "nats": engine.gaps}  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
