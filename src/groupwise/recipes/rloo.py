"""RLOO, REINFORCE with a leave-one-out baseline (arXiv 2402.14740).

    J = E (1/G) Σ_i A_i Σ_t log π_θ(o_t),  A_i = R_i - mean(R of the others),  R_i = r_i - β Σ_t log π_old/π_ref

How it differs from GRPO, which it replaces:

1. The baseline leaves the completion itself out, so it is unbiased: A = G/(G-1) (R_i - mean(R)); no 1/std.
2. The whole completion is one action: log-probabilities are summed, not averaged, and nothing is clipped.
3. The KL is in the reward, k1 over the sequence, with the paper's β of 0.03.

Use it for one update a draw, as the plainest unbiased method.

What goes wrong: without ratio and clip a second update on the same draw is biased; long completions dominate.

Settings of ``groupwise run`` (``run_defaults``):

1. Learning rate 1e-6 and 4 completions of each prompt, as in the paper.
2. 32 prompts a step, one update: as many completions as GRPO draws here.
"""

from dataclasses import replace

from groupwise.algorithm import KL, GroupRelative, LogLikelihood, SequenceSum
from groupwise.recipes.grpo import grpo
from groupwise.sources import OnPolicy

rloo = replace(
    grpo,
    source=OnPolicy(group_size=4),
    advantage=GroupRelative(scale="none", baseline="others"),
    objective=LogLikelihood(),
    kl=KL(0.03, "k1", place="reward"),
    aggregation=SequenceSum(),
)

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 32, "minibatches": 1}
