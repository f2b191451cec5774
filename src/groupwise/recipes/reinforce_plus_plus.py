"""REINFORCE++: one completion a prompt, advantages normalised over the whole batch (arXiv 2501.03262).

    A_t = z_batch( r - β Σ_{u≥t} log π_old(o_u)/π_ref(o_u) )

How it differs from PPO, which it replaces:

1. No critic: the reward to go itself is the advantage.
2. Mean and std over all tokens of the draw stand for a baseline; a group is not needed.
3. KL k1 in the reward, as PPO has it, with the coefficient 0.01 of the authors' framework.

Use it with many different prompts and few samples of each.

What goes wrong: easy and hard prompts share one baseline; with a small draw it is a noisy one.

Settings of ``groupwise run`` (``run_defaults``):

1. 128 prompts with one completion each: mean and spread of the draw are the baseline, and few make a noisy one.
2. 8 updates a draw and learning rate 1e-6, those of the authors' framework, which draws 1,024 prompts.
"""

from groupwise.algorithm import KL, Algorithm, ClippedRatio, RewardToGo, TokenMean, Whitening
from groupwise.sources import OnPolicy

reinforce_plus_plus = Algorithm(
    source=OnPolicy(group_size=1),
    advantage=RewardToGo(),
    objective=ClippedRatio(0.2, 0.2),
    kl=KL(0.01, "k1", place="reward"),
    aggregation=TokenMean(),
    whitening=Whitening("tokens"),
)

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 128, "minibatches": 8}
