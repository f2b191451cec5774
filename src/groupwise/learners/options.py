"""The numbers of a learner, as options: plain values, no heavy import, and nothing that a learner is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

SMALL = 1_024
"""Tokens of a micro-batch beside adapters on a CPU, for 8,192 asked for: larger ones are not faster there."""


@dataclass(frozen=True)
class Lora:
    """These options put low-rank adapters (arXiv 2106.09685) in place of all parameters: W + scale · B A, W frozen
    (docs/lora.md)."""

    rank: Annotated[int, "[0, inf)"] = 0
    """0: no adapters, every parameter is trained."""
    alpha: Annotated[float, "(0, inf)"] = 32.0
    """scale = alpha / rank."""
    targets: tuple[str, ...] = ("all-linear",)
    """Last names of the layers that get one, such as q_proj v_proj; all-linear: every linear layer of the blocks, and
    the experts."""
    rslora: bool = False
    """scale = alpha / √rank (arXiv 2312.03732): a larger rank then learns at the same rate."""
    dropout: Annotated[float, "[0, 1)"] = 0.0
    """Share of each adapter's inputs that an update does without (arXiv 2404.09610); what samples has all of them."""
    modules_to_save: tuple[str, ...] = ()
    """Last names of modules that are trained whole beside the adapters, such as lm_head, and saved with them."""


@dataclass(frozen=True)
class LearnerOptions:
    """The numbers of a learner: of its gradient, its optimizer, its precision and its memory."""

    tokens_per_micro_batch: Annotated[int, "[1, inf)"] = 8_192
    """Tokens that go through the network at once, a shared prompt counted once (where the architecture is not known by
    its parts: padding and every prompt counted); beside adapters on a CPU an eighth of them, 1,024 at least. Memory
    only: the gradient does not depend on it."""
    max_grad_norm: Annotated[float, "[0, inf)"] = 1.0
    """The gradient is scaled down to this norm, a critic's own by itself; 0: never."""
    weight_decay: Annotated[float, "[0, inf)"] = 0.0
    """AdamW's."""
    betas: Annotated[tuple[float, float], "[0, 1)"] = (0.9, 0.95)
    """AdamW's."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one, else cpu."""
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    """Of parameters. AdamW steps a float32 copy of those in bfloat16, which are that copy rounded."""
    optimizer_bits: Literal[32, 8] = 32
    """Of each number of AdamW's state; 8: blocks of 256 with a scale each."""
    checkpointing: bool = False
    """Keep the inputs of blocks alone and compute the rest again in the backward pass: less memory, more time."""
    lora: Lora = Lora()
    """Adapters."""
    threads: Annotated[int, "[0, inf)"] = 0
    """CPU threads; 0: as many as a short trial of this model finds fastest, and a resumed run those it began with.
    Where blocks are computed in tiles, and all else in compiled code, no number depends on it; elsewhere different
    counts round differently."""

    @property
    def tokens_at_once(self) -> int:
        """Returns the tokens of a micro-batch on this machine. Beside adapters a CPU takes small ones: their gradients
        are added up in no time, and what the network keeps for the backward pass is most of the memory."""
        from groupwise.learners.device import pick_device

        asked, small = self.tokens_per_micro_batch, self.lora.rank > 0 and pick_device(self.device) == "cpu"
        return min(asked, max(SMALL, asked // 8)) if small else asked
