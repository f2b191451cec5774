"""GRPO with process supervision (DeepSeekMath 4.1.3).

    A_{i,t} = Σ_{j: index(j) ≥ t} (r_i^{index(j)} - mean(R)) / std(R)        R: all step scores of the group

How it differs from GRPO, which it replaces:

1. The reward scores each step at its last token (``Score.steps``), not only the answer.
2. Step scores are normalised over all steps of the group together, before they are summed up.
3. A token's advantage is the sum over its own and all later steps; after the last step it is 0.
4. The token that ends a completion belongs to no step, so its advantage is 0: stopping is neither learned nor
   unlearned, and a truncated completion keeps the scores of the steps that it has.

Use it with a process reward model or a rule that can judge single steps.

What goes wrong: advantages of a completion do not add up to 0 over the group, and many mediocre steps weigh more than
few good ones, in the statistics and in the sum.
"""

from dataclasses import replace

from groupwise.algorithm import ProcessRelative
from groupwise.recipes.grpo import grpo

grpo_process = replace(grpo, advantage=ProcessRelative())
