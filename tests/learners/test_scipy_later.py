"""A process that samples and learns imports what that needs, and nothing heavy beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = (
    "scipy.optimize", "sklearn", "pandas", "pyarrow", "datasets", "matplotlib", "triton", "peft", "tensorboard",
    "gguf", "math_verify", "tyro", "rich",
)  # fmt: skip
CODE = """
import sys
from groupwise.engines import Native
from groupwise.learners import Local
from groupwise.types import Request, Sampling

learner = Local(threads=1).open(sys.argv[1])
engine = Native(threads=1).open(sys.argv[1], learner.live_module(), learner.tokenizer)
assert list(engine.generate([Request((5, 6), (1,))], Sampling(2)))
print(*[name for name in sys.argv[2:] if name in sys.modules])
from transformers.loss import loss_for_object_detection, loss_rt_detr
for losses in (loss_for_object_detection, loss_rt_detr):
    print(*losses.linear_sum_assignment([[2, 1], [1, 5]])[1], losses.is_scipy_available())
"""


def test_nothing_heavy_is_imported_to_sample_and_to_learn(tiny_model: Path) -> None:
    """And transformers' detectors have scipy's function nevertheless, once they call it."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tiny_model), *HEAVY], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["", "1 0 True", "1 0 True"]
