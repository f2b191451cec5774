"""GMPO, geometric-mean policy optimisation (arXiv 2507.20673).

    J = E (1/G) Σ_i A_i ρ_i,  ρ_i = (Π_t r_{i,t})^(1/|o_i|),  log r held at +c where A > 0, at -c where A < 0

How it differs from GRPO, which it replaces:

1. The geometric mean of the token ratios stands for their arithmetic mean: an outlier cannot dominate.
2. The clip is wide (e^-0.4 to e^0.4), in log space, for each token before the mean (GSPO clips after it).
3. No KL penalty.

Use it where single huge ratios make training unstable.

What goes wrong: a clipped token loses its gradient while the others of its completion still carry it.

Settings of ``groupwise run`` (``run_defaults``):

1. 8 updates a draw and learning rate 1e-6, constant, as in the authors' script: 1,024 completions in updates of 128.
2. There: 128 prompts with 8 completions of up to 3,000 tokens; here 16 prompts and 256 tokens, so that a laptop draws a
   step in minutes.
"""

from dataclasses import replace

from groupwise.algorithm import KL, ClippedGeometricMean
from groupwise.recipes.grpo import grpo

gmpo = replace(grpo, objective=ClippedGeometricMean(0.4), kl=KL(0.0))

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 8}
