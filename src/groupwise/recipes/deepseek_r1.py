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
