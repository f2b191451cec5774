"""GDPO: several rewards, each normalised by itself (arXiv 2601.05242).

    A_i = z_batch( Σ_k w_k z_group(r_i^k) )

How it differs from GRPO, which it replaces:

1. Each reward is normalised within its group before the weighted sum, so that different combinations of rewards with
   the same total keep different advantages.
2. The sum is normalised once more over the batch.

Use it where a rare, important reward stands beside a common, easy one.

What goes wrong: a reward that hardly varies is blown up to the size of the others; its weight is all that tames it.

Settings of ``groupwise run`` (``run_defaults``):

1. Those of GRPO here: learning rate 1e-6, 16 prompts with 8 completions, one update a draw.
"""

from dataclasses import replace

from groupwise.algorithm import NormalisedRewards
from groupwise.recipes.grpo import grpo

gdpo = replace(grpo, advantage=NormalisedRewards())

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 1}
