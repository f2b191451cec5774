"""RPG, regularised policy gradient with the forward KL (arXiv 2505.17508).

    J = E_π_old [ w A + β log π_θ ],  w = π_θ/π_old          GC = w A + β

How it differs from RPG with the unnormalised reverse KL, which it replaces:

1. The divergence is the forward KL of normalised distributions: β log π_θ, imitation of what was sampled.

A is the reward less the group's mean; ``advantage.baseline none`` is the plain reward of the paper's table. The
paper's clip is off; ``objective.low 0.1``, ``objective.high 0.1`` and ``objective.dual 3`` switch it on.

Use it for several updates a draw with an exact penalty and no reference network in memory.

What goes wrong: its gradient is β for every token, also of wrong answers, and does not vanish on-policy.

Settings of ``groupwise run`` (``run_defaults``):

1. 16 updates a draw, those of DAPO, whose data and baseline the paper uses: with one the sampler is the policy, and the
   penalty has nothing to hold.
2. Learning rate 1e-6, 16 prompts with 8 completions of up to 256 tokens: GRPO's here.
"""

from dataclasses import replace

from groupwise.algorithm import RegularisedRatio
from groupwise.recipes.rpg_urkl import rpg_urkl

rpg_fkl = replace(rpg_urkl, objective=RegularisedRatio("forward", 1e-4))

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 16}
