"""Dr. GRPO, GRPO done right (arXiv 2503.20783).

    J = E (1/G) Σ_i (1/L) Σ_t min( r A_i, clip(r) A_i ),  A_i = r_i - mean(r),  L a constant

How it differs from GRPO, which it replaces:

1. No 1/|o_i|: every token is divided by the same constant, so that length is neither rewarded nor excused.
2. No 1/std: questions that are nearly always right or wrong are not amplified.
3. No KL penalty.

L is the largest completion length (``source.max_completion_tokens``): set both.

Use it where completions grow without getting better.

What goes wrong: the gradient's size follows the rewards' scale and L; choose the learning rate anew.

Settings of ``groupwise run`` (``run_defaults``):

1. Learning rate 1e-6, constant, 128 completions a step, 8 of each prompt, at temperature 1, as in the paper.
2. Paper: L = 3,000 tokens; here 256, so that a laptop draws a step in minutes.
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

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 1}
