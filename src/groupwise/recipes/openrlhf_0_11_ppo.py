"""PPO as OpenRLHF 0.11 runs it when nothing is set (openrlhf 0.11.2; arXiv 1707.06347, 1909.08593).

    J   = mean_t min( r_t A_t, clip(r_t, 0.8, 1.2) A_t ) - ½ mean_t max( (V-G)², (clip(V, V_old±0.5)-G)² )
    R_t = r at the last token - 0.01 k1(π_old, π_ref)_t, each k1 held within ±10
    A_t = Σ_{u≥t} R_u - V_t (γ = λ = 1), then (A - mean) / std over the tokens of the draw, ddof 0

How it differs from PPO, which it replaces:

1. λ is 1: the advantage is the reward to go minus the critic's value.
2. The KL's coefficient is 0.01, and its estimate is bounded.
3. Advantages are whitened with the population's variance and nothing added to it.
4. The critic's loss has the weight 1, its values move at most 0.5 a draw, and its learning rate is nine times the
   policy's (9e-6).

Loss, gradient and advantages are those of its own code in float64 to 1e-10 (docs/parity.md). ``run_defaults`` has its
optimiser and batch: 1024 prompts, one completion each, in 8 updates of 128. Its completions end where prompt and
completion have 2048 tokens together; here a completion has 1024.

Where our number differs from theirs: it holds a completion's reward within ±10, which is a matter of the reward here.

Use it to move an OpenRLHF script here and see the same numbers first.

What goes wrong: a critic that has not learned yet makes noise of advantages, here over eight updates.

Settings of ``groupwise run`` (``run_defaults``):

1. Those of its GRPO, in 8 updates a draw, because each prompt has one completion.
"""

from groupwise.algorithm import GAE, KL, Algorithm, ClippedRatio, Critic, TokenMean, Whitening
from groupwise.recipes.openrlhf_0_11 import run_defaults as of_groups
from groupwise.sources import OnPolicy

openrlhf_0_11_ppo = Algorithm(
    source=OnPolicy(group_size=1, temperature=1.0, max_completion_tokens=1024),
    advantage=GAE(gamma=1.0, lam=1.0),
    objective=ClippedRatio(0.2, 0.2),
    kl=KL(0.01, "k1", place="reward", bound=10.0),
    aggregation=TokenMean(),
    whitening=Whitening("tokens", ddof=0, epsilon=0.0),
    critic=Critic("own", coefficient=1.0, clip=0.5, learning_rate_factor=9.0),
)

run_defaults: dict[str, object] = {**of_groups, "minibatches": 8}
