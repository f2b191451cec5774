"""LUSPO, length-unbiased sequence policy optimisation (arXiv 2602.05261).

    J = E (1/G) Σ_i |o_i| min( s_i A_i, clip(s_i, 1-ε_l, 1+ε_h) A_i ),  s_i = (π_θ(o_i)/π_old(o_i))^(1/|o_i|)

How it differs from GSPO, which it replaces:

1. Each completion's term is multiplied by its length: the gradient of s_i divides every token's by |o_i|, which makes a
   token of a long completion weigh little and completions short.
2. Clip ranges of 2e-3 and 2.5e-3 (section 5.1).

On-policy its gradient is that of RLOO's sum over tokens with GRPO's advantage.

Use it where GSPO makes completions collapse to short ones, also with mixtures of experts.

What goes wrong: the gradient grows with the length of completions, so that long right ones weigh most; choose the
learning rate anew, and watch the length.

Settings of ``groupwise run`` (``run_defaults``):

1. 4 updates a draw, those of GSPO, with which the paper compares it: with one the ratio is 1 and nothing is clipped.
2. Learning rate 1e-6, 16 prompts with 8 completions of up to 256 tokens: GRPO's here.
"""

from dataclasses import replace

from groupwise.algorithm import ClippedSequenceRatio, SequenceSum
from groupwise.recipes.gspo import gspo

luspo = replace(gspo, objective=ClippedSequenceRatio(2e-3, 2.5e-3), aggregation=SequenceSum())

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 4}
