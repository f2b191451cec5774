"""RPG, regularised policy gradient with the unnormalised reverse KL (arXiv 2505.17508).

    J = E_π_old [ w A - β (w log w - w) ],  w = π_θ/π_old          GC = w (A - β log w)

How it differs from GRPO, which it replaces:

1. The policy is kept near the one that sampled, not near a frozen reference: nothing extra is held or computed.
2. The penalty is part of the surrogate, with its importance weight, so its gradient is that of the stated divergence.
3. The advantage is not divided by a standard deviation; every token of the batch weighs the same.

A is the reward less the group's mean; ``advantage.baseline none`` is the plain reward of the paper's table. The
paper's clip is off; ``objective.low 0.1``, ``objective.high 0.1`` and ``objective.dual 3`` switch it on.

Use it for several updates a draw with an exact penalty and no reference network in memory.

What goes wrong: on-policy w = 1 and the penalty has no gradient yet: it acts from the second update of a draw on.

Settings of ``groupwise run`` (``run_defaults``):

1. 16 updates a draw, those of DAPO, whose data and baseline the paper uses: with one the sampler is the policy, and the
   penalty has nothing to hold.
2. Learning rate 1e-6, 16 prompts with 8 completions of up to 256 tokens: GRPO's here.
"""

from dataclasses import replace

from groupwise.algorithm import KL, RegularisedRatio, RewardToGo, TokenMean
from groupwise.recipes.grpo import grpo

rpg_urkl = replace(
    grpo,
    advantage=RewardToGo(baseline="group"),
    objective=RegularisedRatio("unnormalised-reverse", 1e-4),
    kl=KL(0.0),
    aggregation=TokenMean(),
)

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 16}
