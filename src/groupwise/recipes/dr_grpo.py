"""Dr. GRPO, GRPO done right (arXiv 2503.20783).

    J = E (1/G) Σ_i (1/L) Σ_t min( r A_i, clip(r) A_i ),  A_i = r_i - mean(r),  L a constant

How it differs from GRPO, which it replaces:

1. No 1/|o_i|: every token is divided by the same constant, so that length is neither rewarded nor excused.
2. No 1/std: questions that are nearly always right or wrong are not amplified.
3. No KL penalty.

L is the largest completion length (``source.max_completion_tokens``): set both.

Use it where completions grow without getting better.

What goes wrong: the gradient's size follows the rewards' scale and L; choose the learning rate anew.
"""

from dataclasses import replace

from groupwise.algorithm import KL, ConstantLength, GroupRelative
from groupwise.recipes.grpo import grpo
from groupwise.sources import OnPolicy

dr_grpo = replace(
    grpo,
    source=OnPolicy(group_size=8, max_completion_tokens=256),
    advantage=GroupRelative(scale="none"),
    kl=KL(0.0),
    aggregation=ConstantLength(256),
)
