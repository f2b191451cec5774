"""GSPO-token: GSPO for advantages that differ from token to token (arXiv 2507.18071, section 4.3).

    J = E (1/G) Σ_i (1/|o_i|) Σ_t min( s_{i,t} A_{i,t}, clip(s_{i,t}) A_{i,t} )
    s_{i,t} = sg(s_i) π_θ(o_t)/sg(π_θ(o_t))

How it differs from GSPO, which it replaces:

1. The value of the ratio is the same, its gradient goes through each token's own probability.
2. Advantages are those of process supervision; with one advantage a completion it is GSPO to the last digit.

Use it where steps are scored and sequence ratios are wanted.

What goes wrong: what goes wrong with GSPO and with step scores.

Settings of ``groupwise run`` (``run_defaults``):

1. Those of GSPO: 4 updates a draw, learning rate 1e-6, 16 prompts with 8 completions.
"""

from dataclasses import replace

from groupwise.algorithm import ClippedSequenceRatio, ProcessRelative
from groupwise.recipes.gspo import gspo

gspo_token = replace(
    gspo,
    advantage=ProcessRelative(last_step="completion"),
    objective=ClippedSequenceRatio(3e-4, 4e-4, gradient="token"),
)

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 4}
