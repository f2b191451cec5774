"""DPPO, divergence proximal policy optimisation, with total variation (arXiv 2602.04879).

    J = E Σ_t M_t w_t A_i,  w = π_θ/μ, μ the policy as it sampled
    M = 0 where A > 0, w > 1 and D > δ, or A < 0, w < 1 and D > δ;  else 1
    D = |π_θ(o_t) - μ(o_t)|, the total variation between the two for the token sampled against all others

How it differs from Dr. GRPO, which it replaces:

1. A token is held not where its ratio is large but where its probability has moved far: one of 1e-5 may grow a hundred
   times, one of 0.99 may not fall to 0.8.
2. Ratio and divergence are from the probabilities that the sampler reported, not from the learner's before the draw's
   first update, so that what engine and learner disagree in is held as well.
3. Held tokens have no gradient at all; others have that of w A, which stands here as sg(w) A log π_θ, as in the
   authors' and verl's code.

The paper's top-K divergence is not here: binary D is its lower bound.

Use it for several updates a draw, for mixtures of experts, and where the sampling engine rounds otherwise than the
learner.

What goes wrong: δ is an absolute probability; on tasks whose tokens are all nearly certain it never holds anything.

Settings of ``groupwise run`` (``run_defaults``):

1. δ = 0.15, learning rate 1e-6, 16 completions of each prompt and 8 updates a draw, as in the authors' script.
2. Theirs draws 256 prompts with completions of up to 8,192 tokens; here 16 prompts and 256 tokens, so that a laptop
   draws a step in minutes.
"""

from dataclasses import replace

from groupwise.algorithm import DivergenceMask
from groupwise.recipes.dr_grpo import dr_grpo
from groupwise.sources import OnPolicy

dppo = replace(
    dr_grpo,
    source=OnPolicy(group_size=16, max_completion_tokens=256),
    objective=DivergenceMask("tv", 0.15, 0.15),
)

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 8}
