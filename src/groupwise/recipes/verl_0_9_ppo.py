"""PPO as verl 0.9 runs it when nothing is set (verl 0.9.1, ``algorithm.adv_estimator=gae``; arXiv 1707.06347).

    J   = mean_t max( min( r_t A_t, clip(r_t, 0.8, 1.2) A_t ), 3 A_t where A_t < 0 )
          - ½ mean_t max( (V-G)², (clip(V, V_old±0.5)-G)² )
    A_t = Σ_{u≥t} R_u - V_t (γ = λ = 1), then (A - mean) / √(var + 1e-8) over the tokens of the draw, ddof 1

How it differs from PPO, which it replaces:

1. λ is 1: the advantage is the reward to go minus the critic's value.
2. No KL. ``kl.coefficient`` (verl's ``kl_ctrl.kl_coef`` is 0.001) puts k1 in the reward, its ``use_kl_in_reward``.
3. Dual clip at 3.
4. The critic's loss has the weight 1, its values move at most 0.5 a draw, and its learning rate is ten times the
   policy's (1e-5).

Loss, gradient and advantages are those of its own code to 1e-10 (docs/parity.md). ``run_defaults`` has its optimiser
and batch: 1024 prompts a draw, one completion each, in four updates.

Where our number differs from theirs: verl adds 1e-8 to the number of tokens that the whitening's mean and variance
divide by. With 300 tokens an advantage differs by 2e-11 of itself.

Use it to move a verl script here and see the same numbers first.

What goes wrong: with λ = 1 and no KL all that the critic removes is variance; it must have learned something first.

Settings of ``groupwise run`` (``run_defaults``):

1. Those of verl's GRPO: 1,024 prompts a draw in 4 updates, learning rate 1e-6, AdamW (0.9, 0.999), decay 0.01.
"""

from groupwise.algorithm import GAE, KL, Algorithm, ClippedRatio, Critic, TokenMean, Whitening
from groupwise.recipes.verl_0_9 import run_defaults as of_groups
from groupwise.sources import OnPolicy

verl_0_9_ppo = Algorithm(
    source=OnPolicy(group_size=1, temperature=1.0, max_completion_tokens=512),
    advantage=GAE(gamma=1.0, lam=1.0),
    objective=ClippedRatio(0.2, 0.2, dual=3.0),
    kl=KL(0.0, "k1", place="reward"),
    aggregation=TokenMean(),
    whitening=Whitening("tokens", ddof=1, epsilon=1e-8),
    critic=Critic("own", coefficient=1.0, clip=0.5, learning_rate_factor=10.0),
)

run_defaults: dict[str, object] = {**of_groups}
