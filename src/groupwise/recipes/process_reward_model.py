"""A process reward model: a score after each step, learned from labels of steps (arXiv 2305.20050, 2312.08935).

    J = E_(q,o,y) Σ_k [ y_k log σ(z_k) + (1 - y_k) log(1 - σ(z_k)) ]          z_k: the number after step k's last token

How it differs from the reward model, which it replaces:

1. The data are solutions whose steps carry labels, right or wrong (or the chance of being right), not pairs.
2. The score is read after every step and is a logit: σ(z_k) is the probability that step k is right.
3. Each step weighs the same, whatever the length of its solution.

Use it to reward or to rank solutions by their steps: the smallest σ(z_k) is a solution's verification score. With one
label on the last token of each solution it is Math-Shepherd's outcome model, ORM: a reward of 0 or 1 from a rule sits
there already, so ``source=FrozenPolicy(select=AllRollouts())`` in this recipe trains one.

What goes wrong: steps after the first wrong one are labelled in different ways by different data; most steps are right,
so accuracy flatters (held-out results stand beside those of always saying right).

Settings of ``groupwise run`` (``run_defaults``):

1. Learning rate 2e-5, DeepSeekMath's for its reward model. Math-Shepherd's is 1e-6, in one pass over 440,000 solutions;
   here a new head learns from 6,400.
2. 64 solutions a step; the papers do not say.
3. Math-Shepherd cuts at 512 tokens; here the model's context does.
"""

from groupwise.algorithm import KL, Algorithm, Constant, SequenceSum, StepCrossEntropy
from groupwise.sources import StepLabels

process_reward_model = Algorithm(
    source=StepLabels(),
    advantage=Constant(1.0),
    objective=StepCrossEntropy(),
    kl=KL(0.0),
    aggregation=SequenceSum(),
)

run_defaults: dict[str, object] = {"learning_rate": 2e-05, "prompts_per_step": 64}
