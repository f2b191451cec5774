"""GSPO, group sequence policy optimisation (arXiv 2507.18071).

    J = E (1/G) Σ_i min( s_i A_i, clip(s_i, 1-ε_l, 1+ε_h) A_i ),  s_i = (π_θ(o_i)/π_old(o_i))^(1/|o_i|)

How it differs from GRPO, which it replaces:

1. One ratio a completion, the geometric mean of its token ratios; the clip keeps or drops whole completions.
2. Hence clip ranges of 3e-4 and 4e-4: the geometric mean moves far less than the ratio of a single token.
3. No KL penalty.

The paper splits each draw into 4 minibatches. With one update a draw every ratio is 1, and its gradient is that of GRPO
without the KL penalty.

Use it for long completions and for mixtures of experts, where the ratio of a single token is mostly noise.

What goes wrong: a clipped completion is dropped whole, so a far larger share of tokens has no gradient (0.15 in the
paper, against 0.0013 with GRPO). That is by design: a range as wide as GRPO's would clip nothing.

Settings of ``groupwise run`` (``run_defaults``):

1. 4 updates a draw, as in the paper: with one the ratio is 1 and the gradient is GRPO's.
2. Learning rate 1e-6, 16 prompts with 8 completions of up to 256 tokens, as GRPO has here; the paper does not print
   its own.
"""

from dataclasses import replace

from groupwise.algorithm import KL, ClippedSequenceRatio
from groupwise.recipes.grpo import grpo

gspo = replace(grpo, objective=ClippedSequenceRatio(3e-4, 4e-4), kl=KL(0.0))

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 4}
