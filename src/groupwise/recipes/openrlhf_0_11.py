"""GRPO as OpenRLHF 0.11 runs it with ``--algo.advantage.estimator group_norm`` (openrlhf 0.11.2; arXiv 2402.03300).

    J = E (1/Σ_i|o_i|) Σ_i Σ_t min( r A_{i,t}, clip(r, 0.8, 1.2) A_{i,t} )
    A_{i,t} = (r_i - mean(r)) / (std(r) + 1e-9) - 0.01 Σ_{u≥t} k1(π_old, π_ref)_u,  each k1 held within ±10

How it differs from GRPO, which it replaces:

1. The mean goes over all tokens of the update.
2. The KL is k1 of the policy that sampled. It enters after the group's rewards are normalised, and a token bears what
   follows it (``kl.place advantage``); elsewhere a KL in the reward is part of what is normalised.
3. 1e-9 is added to the standard deviation (ddof 1).

Loss, gradient and advantages are those of its own code in float64 to 1e-10 (docs/parity.md). ``run_defaults`` has its
optimiser and batch: 1024 prompts a draw in updates of 128 completions. ``n_samples_per_prompt`` is 1 there, which
``group_norm`` refuses; 8 is that of its GRPO example, and hence 64 updates a draw. Its completions end where prompt and
completion have 2048 tokens together; here a completion has 1024.

Where our number differs from theirs: its statistics are float32. There the mean of 8 equal rewards of 0.2 is off by one
rounding and their standard deviation is 0, so that all eight have the advantage -10, the bound that it puts on rewards.
Ours is 0. On other advantages the bound has no effect with fewer than 102 completions a group.

Use it to move an OpenRLHF script here and see the same numbers first.

What goes wrong: 64 updates on one draw go far off-policy, and the first tokens of a long completion bear the penalty of
all that follows.

Settings of ``groupwise run`` (``run_defaults``):

1. 1,024 prompts a draw in 64 updates, learning rate 1e-6 with 3 % of warm-up and a cosine to a tenth; AdamW (0.9,
   0.95).
2. They are OpenRLHF's and not scaled down: ``prompts_per_step`` and ``minibatches`` make a draw that a laptop can make.
"""

from groupwise.algorithm import KL, Algorithm, ClippedRatio, GroupRelative, TokenMean
from groupwise.sources import OnPolicy

openrlhf_0_11 = Algorithm(
    source=OnPolicy(group_size=8, temperature=1.0, max_completion_tokens=1024),
    advantage=GroupRelative(epsilon=1e-9),
    objective=ClippedRatio(0.2, 0.2),
    kl=KL(0.01, "k1", place="advantage", bound=10.0),
    aggregation=TokenMean(),
)

run_defaults: dict[str, object] = {
    "prompts_per_step": 1024,
    "minibatches": 64,
    "epochs": 1,
    "learning_rate": 1e-6,
    "schedule": "cosine",
    "learning_rate_floor": 0.1,
    "warmup_steps": 3,
    "betas": (0.9, 0.95),
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
}
"""``warmup_steps`` is its 3 % of the 100 steps that ``groupwise run`` makes of a method."""
