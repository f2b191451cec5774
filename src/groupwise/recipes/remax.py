"""ReMax: the reward of the greedy completion as baseline (arXiv 2310.10505).

    J = E Σ_t A_t log π_θ(o_t),  A_t = Σ_{u≥t} R_u - r(q, greedy(q))

How it differs from RLOO, which it replaces:

1. One sampled and one greedy completion a prompt, whose reward is subtracted; the greedy one is not trained on.
2. No KL (``kl.coefficient``, with ``kl.place reward``, adds the paper's penalty).

Use it where one sample a prompt is all that fits.

What goes wrong: where the greedy completion is always right, every slip of a sample is punished and nothing rewarded.

Settings of ``groupwise run`` (``run_defaults``):

1. 128 prompts, each with one sampled and one greedy completion, one update a draw: as many samples as GRPO has here.
2. Learning rate 1e-6, GRPO's.
"""

from groupwise.algorithm import KL, Algorithm, LogLikelihood, RewardToGo, SequenceSum
from groupwise.sources import OnPolicy

remax = Algorithm(
    source=OnPolicy(group_size=1, greedy_baseline=True),
    advantage=RewardToGo(baseline="greedy"),
    objective=LogLikelihood(),
    kl=KL(0.0, "k1", place="reward"),
    aggregation=SequenceSum(),
)

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 128, "minibatches": 1}
