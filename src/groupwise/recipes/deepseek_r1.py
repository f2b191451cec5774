"""GRPO with the settings of DeepSeek-R1 (Nature 2025, doi 10.1038/s41586-025-09422-z; arXiv 2501.12948).

    J as GRPO's, ε = 10, β = 0.001, the reference replaced by the policy every 400 steps

How it differs from GRPO, which it replaces:

1. ε = 10: on-policy nothing is ever clipped; the later minibatches of a draw hardly.
2. β = 0.001, and the reference follows: every 400 steps it becomes the present policy.
3. Groups of 16.

R1's formula has no sum over tokens; the token form here is that of implementations. R1-Zero draws 512 outputs of 32
questions a step at temperature 1 and learning rate 3e-6, and splits 8,192 outputs into 16 minibatches, one epoch.

Use it for long runs from a capable base model with rules as rewards.

What goes wrong: with so wide a clip several epochs on a draw run away.

Settings of ``groupwise run`` (``run_defaults``):

1. Learning rate 3e-6, constant, as R1-Zero.
2. 16 updates a draw, as R1-Zero: there of 512 completions, here of 16, one group.
3. There: 8,192 completions a draw, 16 of each prompt; here 16 prompts, so that a laptop draws a step in minutes.
4. There: completions of up to 32,768 tokens; here 256, for the same reason.
5. The reference follows after 400 steps, as there: longer than the 100 that ``groupwise run`` makes unless told.
"""

from dataclasses import replace

from groupwise.algorithm import KL, ClippedRatio, Reference
from groupwise.recipes.grpo import grpo
from groupwise.sources import OnPolicy

deepseek_r1 = replace(
    grpo,
    source=OnPolicy(group_size=16),
    objective=ClippedRatio(10.0, 10.0),
    kl=KL(0.001),
    reference=Reference(refresh_every=400),
)

run_defaults: dict[str, object] = {"learning_rate": 3e-06, "prompts_per_step": 16, "minibatches": 16}
