"""MaxRL, maximum-likelihood reinforcement learning (arXiv 2602.02710).

    A_i = (r_i - mean(r)) / mean(r)        the mean over right answers of ∇ log π, for rewards of 0 and 1

How it differs from GRPO, which it replaces:

1. The mean reward divides, not the standard deviation: a question with pass rate p weighs 1/p, as in the gradient of
   log p, where GRPO's weighs 1/√(p(1-p)).
2. The whole completion is one action with its log-likelihood; one update a draw, no clip and no KL.

A group without a right answer has no gradient, and none has one whose mean reward is not above 0: divided by a
negative mean, the right answer would be pushed down. The sum over tokens is not divided by length.

Use it where hard questions should count most and pass@k matters.

What goes wrong: with rewards of +1 and -1 every group of which not more than half is right is dropped; use 0 and 1.
"""

from dataclasses import replace

from groupwise.algorithm import KL, GroupRelative, LogLikelihood, SequenceSum
from groupwise.recipes.grpo import grpo

maxrl = replace(
    grpo, advantage=GroupRelative(scale="mean"), objective=LogLikelihood(), kl=KL(0.0), aggregation=SequenceSum()
)
