"""CISPO, clipped importance-sampling weights (MiniMax-M1, arXiv 2506.13585).

    J = E (1/Σ_i|o_i|) Σ_i Σ_t sg( min(r, 1+ε_h) ) A_i log π_θ(o_t)

How it differs from DAPO, which it replaces:

1. The weight is clipped, not the objective: every token keeps a gradient, also the rare ones that a ratio clip drops.
2. There is no lower bound.

The paper never prints ε_h; 0.28 is DAPO's. ScaleRL uses a cap of 5, ``objective.high 4``.

Use it where clipped tokens are the ones that matter (reflection words are rare and move fast).

What goes wrong: the value of J contains log π and cannot be compared with a ratio's.

Settings of ``groupwise run`` (``run_defaults``):

1. 16 updates a draw, as in the paper: with one the weight is 1 and nothing is clipped.
2. Learning rate 1e-6 and 20 steps of warm-up are DAPO's; 16 prompts with 16 completions of up to 256 tokens are DAPO's
   scaled down. The paper prints neither.
"""

from dataclasses import replace

from groupwise.algorithm import ClippedWeight
from groupwise.recipes.dapo import dapo

cispo = replace(dapo, objective=ClippedWeight(high=0.28), truncated="learn")

run_defaults: dict[str, object] = {
    "learning_rate": 1e-06,
    "prompts_per_step": 16,
    "minibatches": 16,
    "warmup_steps": 20,
}
