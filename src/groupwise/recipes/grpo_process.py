"""GRPO with process supervision (DeepSeekMath 4.1.3).

    A_{i,t} = Σ_{j: index(j) ≥ t} (r_i^{index(j)} - mean(R)) / std(R)        R: all step scores of the group

How it differs from GRPO, which it replaces:

1. The reward scores each step at its last token (``Score.steps``), not only the answer.
2. Step scores are normalised over all steps of the group together, before they are summed up.
3. A token's advantage is the sum over its own and all later steps.
4. The token that ends a completion (EOS) belongs to its last step. The paper's index(K) may also be read as the token
   of the last visible character; then EOS has advantage 0 and stopping is never learned (``last_step`` "text"). The
   step in which a completion was truncated has no score.

Use it with a process reward model or a rule that can judge single steps.

What goes wrong: advantages of a completion do not add up to 0 over the group, and a completion of many mediocre steps
weighs more than one of few good ones, in the statistics and in the sum. Every further step also has a price: from each
score the mean over all steps of the group is subtracted, so it is subtracted once more for one more step, and how many
steps there are is the policy's own choice.

The price, counted out. A policy takes at most three steps and goes on in each with probability p = 1/2, which scores
0.3, or 0.9 in the third; where it stops, that step scores 0.2, 0.1 or 0.5. Of groups of 4, the expected gradient by p:

| advantage, not divided by a standard deviation | gradient |
|---|---|
| the derivative of the mean reward | 1.200000 |
| outcome: the sum of a completion's scores less the mean of the others' | 1.200000 |
| ``turn_to_go``: what is to come less the mean of the others that reached the step | 1.200000 |
| step scores pooled, with the exact mean in place of the group's | 0.600000 |
| step scores pooled, as here | 0.468804 |
| step scores centred step by step (MT-GRPO, arXiv 2505.11821) | 0.159766 |

Settings of ``groupwise run`` (``run_defaults``):

1. Those of GRPO with outcome supervision, as in the paper: learning rate 1e-6, one update a draw; 16 prompts with 8
   completions, where the paper has 64.
"""

from dataclasses import replace

from groupwise.algorithm import ProcessRelative
from groupwise.recipes.grpo import grpo

grpo_process = replace(grpo, advantage=ProcessRelative(last_step="completion"))

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 1}
