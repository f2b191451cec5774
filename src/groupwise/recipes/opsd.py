"""OPSD, on-policy self-distillation: the policy teaches itself, having seen the answer (arXiv 2601.18734).

    A_t = log π_T(o_t | q, a, o_<t) - log π_old(o_t | q, o_<t)        o ~ π_θ(·|q),  a: the row's answer

How it differs from on-policy distillation, which it replaces:

1. The teacher is no larger model but the policy as the stage begins, which reads the row's answer or solution beside
   the prompt (``reference.sees``); its weights stay, as the paper's do.
2. One completion of each prompt: every token has an advantage, so there is nothing to compare.

The paper sums the forward KL(π_T‖π_θ) over the vocabulary and holds each entry below 0.05; here, as in its ablation on
sampled tokens, each token has its own reverse KL. The reverse KL over the whole vocabulary is ``KL(1.0, "exact")`` in
the objective with advantages of 0. A teacher who grows with the policy has ``reference.refresh_every``.

Use it where rows have answers or worked solutions and the model can make use of one that it is shown.

What goes wrong: it teaches what the teacher does with the answer in sight; a model that copies it teaches to guess, and
one that cannot read it teaches nothing. Rows whose answer is longer than the context are passed over.

Settings of ``groupwise run`` (``run_defaults``):

1. Learning rate 5e-6, as in the authors' script, where adapters are trained; 32 prompts, one update a draw.
2. Paper: completions of up to 1,024 tokens; here 256, so that a laptop draws a step in minutes.
"""

from dataclasses import replace

from groupwise.algorithm import Reference
from groupwise.recipes.on_policy_distillation import on_policy_distillation
from groupwise.sources import OnPolicy

opsd = replace(
    on_policy_distillation,
    source=OnPolicy(group_size=1),
    reference=Reference(
        sees="{prompt}\n\nThe right answer:\n{answer}\n\nNow reach it by your own reasoning, step by step."
    ),
)

run_defaults: dict[str, object] = {"learning_rate": 5e-06, "prompts_per_step": 32, "minibatches": 1}
