"""SAPO, soft adaptive policy optimisation (arXiv 2511.20347).

    J = E (1/G) Σ_i (1/|o_i|) Σ_t f(r) A_i,  f(r) = σ(τ(r-1)) 4/τ,  τ = 1 where A > 0, else 1.05

How it differs from GRPO, which it replaces:

1. A smooth gate in place of the clip: a token's gradient fades by sech²(τ(r-1)/2) instead of ending.
2. It fades faster for suppressed tokens, whose updates spread over the whole vocabulary.
3. No KL penalty.

Use it for many updates a draw, where a hard clip throws away much of the batch.

What goes wrong: f(1) = 2/τ, so the value of J shifts with τ; on-policy its gradient is GRPO's.

Settings of ``groupwise run`` (``run_defaults``):

1. 4 updates a draw, those of GSPO, with which the paper compares it: with one the gate is open and the gradient is
   GRPO's.
2. Learning rate 1e-6, 16 prompts with 8 completions of up to 256 tokens: GRPO's here.
"""

from dataclasses import replace

from groupwise.algorithm import KL, SoftGate
from groupwise.recipes.grpo import grpo

sapo = replace(grpo, objective=SoftGate(1.0, 1.05), kl=KL(0.0))

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 4}
