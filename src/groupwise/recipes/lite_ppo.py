"""Lite PPO: two tricks and no critic ("Tricks or Traps", arXiv 2508.08221).

    J = E (1/Σ_i|o_i|) Σ_i Σ_t min( r A_i, clip(r) A_i ),  A_i = (r_i - mean_group(r)) / std_batch(r)

How it differs from GRPO, which it replaces:

1. The standard deviation is that of all raw rewards of the batch, not of the group.
2. Token mean.
3. No KL penalty.

Use it where many groups are nearly uniform: their own std would amplify a single slip.

What goes wrong: the scale depends on the mix of prompts in a batch.

Settings of ``groupwise run`` (``run_defaults``):

1. 4 updates a draw, so that PPO's clip, which it keeps, acts; the number is not the paper's.
2. Learning rate 1e-6, 16 prompts with 8 completions of up to 256 tokens: GRPO's here.
"""

from dataclasses import replace

from groupwise.algorithm import KL, GroupRelative, TokenMean
from groupwise.recipes.grpo import grpo

lite_ppo = replace(grpo, advantage=GroupRelative(scale="batch"), kl=KL(0.0), aggregation=TokenMean())

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 4}
