"""GRPO as verl 0.9 runs it with ``algorithm.adv_estimator=grpo`` and nothing else set (verl 0.9.1; arXiv 2402.03300).

    J = E (1/Σ_i|o_i|) Σ_i Σ_t max( min( r A_i, clip(r, 0.8, 1.2) A_i ), 3 A_i where A_i < 0 )
    A_i = (r_i - mean(r)) / (std(r) + 1e-6)

How it differs from GRPO, which it replaces:

1. ``loss_agg_mode=token-mean``: the mean goes over all tokens of the minibatch, on all ranks.
2. Dual clip, ``clip_ratio_c=3.0``: a token with A < 0 whose ratio exceeds 3 has no gradient.
3. ``use_kl_loss=false``, ``use_kl_in_reward=false``: no KL and no reference. ``kl.coefficient`` (verl's is 0.001) turns
   on its ``low_var_kl``: k3 held at 10, without gradient beyond.
4. 1e-6 is added to the standard deviation (ddof 1).

Loss, gradient and advantages are those of its own code to 1e-10 (docs/parity.md). ``run_defaults`` has its optimiser
and batch: 1024 prompts a draw in four updates of 256. verl's ``rollout.n`` is 1, which makes no group; 5 is that of its
GRPO examples.

Where our number differs from theirs: a group of one has the raw reward as advantage there, and is refused here.

Use it to move a verl script here and see the same numbers first.

What goes wrong: without a KL nothing but the clip holds the policy, and a token with A < 0 that has grown threefold
within a draw is not pushed down by it.

Settings of ``groupwise run`` (``run_defaults``):

1. 1,024 prompts a draw in 4 updates, learning rate 1e-6, constant; AdamW (0.9, 0.999), decay 0.01, gradients clipped at
   1.
2. They are verl's and not scaled down: ``prompts_per_step`` and ``minibatches`` make a draw that a laptop can make.
"""

from groupwise.algorithm import KL, Algorithm, ClippedRatio, GroupRelative, TokenMean
from groupwise.sources import OnPolicy

verl_0_9 = Algorithm(
    source=OnPolicy(group_size=5, temperature=1.0, max_completion_tokens=512),
    advantage=GroupRelative(epsilon=1e-6),
    objective=ClippedRatio(0.2, 0.2, dual=3.0),
    kl=KL(0.0, bound=10.0),
    aggregation=TokenMean(),
)

run_defaults: dict[str, object] = {
    "prompts_per_step": 1024,
    "minibatches": 4,
    "epochs": 1,
    "learning_rate": 1e-6,
    "schedule": "constant",
    "warmup_steps": 0,
    "betas": (0.9, 0.999),
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
}
