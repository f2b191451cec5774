"""VESPO, variational sequence-level soft policy optimisation (arXiv 2602.10693).

    ∇J = E φ(W_i) A_i ∇ log π_θ(o_i),  φ(W) = W^c1 exp(c2 (1 - W)),  W_i = π_θ(o_i)/π_old(o_i)      (eq. 20)
    (c1, c2) = (2, 3) where A ≥ 0, else (3, 2)

How it differs from GRPO, which it replaces:

1. One weight a completion, the product of its token ratios without a root: unlike GSPO's it keeps its size with length.
2. A kernel in place of a clip: 1 on-policy, at most 1.24, and fading smoothly for what became unlikely or likely. It is
   the proposal nearest to the sampler, tilted to the policy, of a bounded second moment (eq. 14 to 17).
3. A is not divided by a standard deviation, as section 3.5 has it; the authors' script divides.
4. Every token of the batch weighs the same, as in the authors' script and in TRL. No KL penalty.

Use it for many updates a draw, for stale or asynchronous samples.

What goes wrong: log W adds up over the tokens, so that in long completions a small drift a token takes W far from 1,
and the completion's gradient to 0. The value of J contains log π and cannot be compared with a ratio's.

Settings of ``groupwise run`` (``run_defaults``):

1. 8 updates a draw and 8 completions of each prompt, as in the paper, and the learning rate of the authors' script,
   1e-6.
2. Paper: 256 completions an update of up to 15,360 tokens; here 16, of 256.
"""

from dataclasses import replace

from groupwise.algorithm import KL, GammaWeight, GroupRelative, TokenMean
from groupwise.recipes.grpo import grpo

vespo = replace(
    grpo,
    advantage=GroupRelative("none"),
    objective=GammaWeight(2.0, 3.0, 3.0, 2.0),
    kl=KL(0.0),
    aggregation=TokenMean(),
)

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 8}
