"""MaxRL, maximum-likelihood reinforcement learning (arXiv 2602.02710).

    A_i = (c_i - p) / p,  c_i = 1 if o_i is right, else 0,  p = mean(c)        the mean over right answers of ∇ log π

How it differs from GRPO, which it replaces:

1. The pass rate divides, not the standard deviation: a question with pass rate p weighs 1/p, as in the gradient of
   log p, where GRPO's weighs 1/√(p(1-p)).
2. What counts is the verdict of the task's judge, 0 or 1, whatever else is rewarded or punished.
3. The whole completion is one action with its log-likelihood; one update a draw, no clip and no KL.

A group without a right answer has no gradient. The sum over tokens is not divided by length.

Use it where hard questions should count most and pass@k matters.

What goes wrong: a question with one right answer in a thousand weighs as much as a thousand that are nearly always
solved, and so does a wrong verdict on it.

Settings of ``groupwise run`` (``run_defaults``):

1. One update a draw, as in the paper: there is no ratio that would correct a second one.
2. Learning rate 1e-6, 16 prompts with 8 completions of up to 256 tokens: GRPO's here. More of each prompt come nearer
   to the maximum likelihood that it is named for.
"""

from dataclasses import replace

from groupwise.algorithm import KL, LogLikelihood, PassRateRelative, SequenceSum
from groupwise.recipes.grpo import grpo

maxrl = replace(grpo, advantage=PassRateRelative(), objective=LogLikelihood(), kl=KL(0.0), aggregation=SequenceSum())

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 1}
