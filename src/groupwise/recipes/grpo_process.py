"""GRPO with process supervision (DeepSeekMath 4.1.3).

    A_{i,t} = Σ_{j: index(j) ≥ t} (r_i^{index(j)} - mean(R)) / std(R)        R: all step scores of the group

How it differs from GRPO, which it replaces:

1. The reward scores each step at its last token (``Score.steps``), not only the answer.
2. Step scores are normalised over all steps of the group together, before they are summed up.
3. A token's advantage is the sum over its own and all later steps.
4. EOS belongs to the last step of a finished completion, where the paper's index(K) may be read as the last character's
   token: then EOS has advantage 0 and stopping is never learned (``last_step`` "text"). A step that truncation cut has
   no score.

Use it with a process reward model or a rule that can judge single steps.

What goes wrong: advantages of a completion do not add up to 0 over the group, and many mediocre steps weigh more than
few good ones, in the statistics and in the sum. Pooled statistics also put a price on every further step: the mean that
is subtracted from each score is subtracted as often as a completion has steps, and how many it has is the policy's own
choice. Counted out for a policy that goes on with probability 1/2 for at most three steps, with 0.3 for each step gone
on and 0.2, 0.1, 0.5 or 0.6 in the end, in groups of 4, the derivative of the mean reward by that probability is 1.2;
an outcome reward (all rewards of a completion, less the mean of the others) has 1.2 as well; pooled step scores without
the division have 0.4688, and with the exact mean in place of the group's 0.6.

Settings of ``groupwise run`` (``run_defaults``):

1. Those of GRPO with outcome supervision, as in the paper: learning rate 1e-6, one update a draw; 16 prompts with 8
   completions, where the paper has 64.
"""

from dataclasses import replace

from groupwise.algorithm import ProcessRelative
from groupwise.recipes.grpo import grpo

grpo_process = replace(grpo, advantage=ProcessRelative(last_step="completion"))

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 1}
