"""REINFORCE++-baseline: the group's mean as baseline, the batch's spread as scale (arXiv 2501.03262).

    A_i = z_batch( r_i - mean_group(r) ),  the KL to the reference as a k2 penalty in the objective

How it differs from REINFORCE++, which it replaces:

1. The mean reward of the prompt's group is subtracted before the batch normalises.
2. The KL leaves the reward for the objective, as k2.

The whitening counts tokens, as verl does; ``whitening.unit sequences`` is the other convention, with other numbers.

Use it in GRPO's place where groups are small and their own std is noise.

What goes wrong: one prompt with a huge spread of rewards scales down all others.

Settings of ``groupwise run`` (``run_defaults``):

1. 16 prompts with 8 completions, 8 updates a draw, learning rate 1e-6: those of REINFORCE++, counted in completions.
"""

from dataclasses import replace

from groupwise.algorithm import KL, GroupRelative
from groupwise.recipes.reinforce_plus_plus import reinforce_plus_plus
from groupwise.sources import OnPolicy

reinforce_plus_plus_baseline = replace(
    reinforce_plus_plus,
    source=OnPolicy(group_size=8),
    advantage=GroupRelative(scale="none"),
    kl=KL(0.01, "k2"),
)

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 8}
