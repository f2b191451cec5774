"""PPO with a critic and a KL in the reward (arXiv 1707.06347, 1909.08593; DeepSeekMath eq. 1 and 2).

    J   = mean_t min( r_t A_t, clip(r_t, 1-ε, 1+ε) A_t ) - c ½ mean_t max( (V-G)², (clip(V, V_old±ε_V)-G)² )
    R_t = r_φ(q, o) at the last token - β log π_old(o_t)/π_ref(o_t)
    A_t = Σ_l (γλ)^l δ_{t+l},  δ_t = R_t + γ V_{t+1} - V_t,  then whitened over the draw

How it differs from online RFT, which it replaces:

1. A critic, a second network (or a head on the policy: ``critic.network head``), predicts what is still to come.
2. Each token has its own advantage, by GAE against the critic.
3. Ratio and clip allow several updates a draw.
4. The KL to the reference is k1, in the token rewards; ``kl.target`` makes its coefficient adaptive.

The mean goes over all tokens of the minibatch, as in TRL and verl; DeepSeekMath prints one completion's 1/|o|.
``advantage.whiten_rewards`` normalises the token rewards, mean kept.

Process supervision needs no other recipe: a reward that scores steps (``ModelReward(kind="process")``, a step rule) has
each score at its step's last token, and GAE begins there.

Use it where credit within a completion matters and a critic can be afforded.

What goes wrong: a critic that has not learned yet makes noise of advantages; warm it up or lower λ last.
Scores of steps add up, so that positive ones pay for more steps: keep a rule beside a model of steps.

Settings of ``groupwise run`` (``run_defaults``):

1. 4 epochs on each draw, as in the papers on PPO for language models: ratio and clips act from the second on.
2. 128 prompts with one completion each; OpenAI's summaries have 512.
3. Learning rate 1e-6, constant, DeepSeekMath's of its policy.
"""

from groupwise.algorithm import GAE, KL, Algorithm, ClippedRatio, Critic, TokenMean, Whitening
from groupwise.sources import OnPolicy

ppo = Algorithm(
    source=OnPolicy(group_size=1),
    advantage=GAE(gamma=1.0, lam=0.95),
    objective=ClippedRatio(0.2, 0.2),
    kl=KL(0.05, "k1", place="reward"),
    aggregation=TokenMean(),
    whitening=Whitening("tokens"),
    critic=Critic("own", coefficient=0.1, clip=0.2),
)

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 128, "epochs": 4, "minibatches": 1}
