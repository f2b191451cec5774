"""On-policy distillation: a teacher grades each token that the student samples (arXiv 2306.13649).

    A_t = log π_teacher(o_t | q, o_<t) - log π_old(o_t | q, o_<t)

How it differs from GRPO, which it replaces:

1. No reward and no group: the advantage is each token's reverse KL to the teacher, who stands where the reference
   stands (``reference.model``).
2. Nothing reaches further than the token itself.
3. No other KL penalty, and every token of the batch weighs the same.

``KL(1.0, "exact")`` in the objective, with advantages of 0, sums over the vocabulary instead of one sampled token.

Use it to carry what a larger model of the same tokenizer knows into a smaller one, on the states the smaller visits.

What goes wrong: where the student never goes, nobody teaches it; begin with SFT on the teacher's samples.

Settings of ``groupwise run`` (``run_defaults``):

1. 32 prompts with 4 completions, one update a draw; the paper has 32 rows a step.
2. Learning rate 1e-5. The paper's 3e-4, with 2,000 steps of warm-up, is for T5 models and another optimiser.
"""

from groupwise.algorithm import KL, Algorithm, ClippedRatio, TeacherGap, TokenMean
from groupwise.sources import OnPolicy

on_policy_distillation = Algorithm(
    source=OnPolicy(group_size=4),
    advantage=TeacherGap(),
    objective=ClippedRatio(0.2, 0.2),
    kl=KL(0.0),
    aggregation=TokenMean(),
)

run_defaults: dict[str, object] = {"learning_rate": 1e-05, "prompts_per_step": 32, "minibatches": 1}
