"""DPPO, divergence proximal policy optimisation, with a KL divergence (arXiv 2602.04879).

    J = E Σ_t M_t w_t A_i,  w = π_θ/μ, μ the policy as it sampled
    D = μ log μ/π_θ + (1-μ) log (1-μ)/(1-π_θ)        of the token sampled against all others

How it differs from DPPO with total variation, which it replaces:

1. D is KL(μ‖π_θ): it holds a token that is about to vanish, or to become certain, sooner than one that moves as far
   between.
2. Hence another δ: 0.05.

Use it as ``dppo``, where tokens must not die out.

What goes wrong: a token that the sampler gave a probability of nearly 1 is held by the smallest doubt of the learner.

Settings of ``groupwise run`` (``run_defaults``):

1. δ = 0.05, learning rate 1e-6, 16 completions of each prompt and 8 updates a draw, as in the authors' script.
2. 16 prompts and 256 tokens where theirs has 256 and 8,192.
"""

from dataclasses import replace

from groupwise.algorithm import DivergenceMask
from groupwise.recipes.dppo import dppo

dppo_kl = replace(dppo, objective=DivergenceMask("kl", 0.05, 0.05))

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 8}
