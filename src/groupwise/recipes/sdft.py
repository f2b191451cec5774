"""SDFT, self-distillation fine-tuning: demonstrations taught by the policy that has read them (arXiv 2601.19897).

    A_t = log π(o_t | q, c, o_<t) - log π_old(o_t | q, o_<t)        o ~ π_θ(·|q),  c: the row's demonstration

How it differs from supervised fine-tuning, which it replaces:

1. The policy learns from what it says itself, not from the demonstration's words: each sampled token has the reverse KL
   to the same model with the demonstration in its prompt (``reference.sees``).
2. The teacher is the policy as the stage begins, as TRL has it by default. The paper's is a moving average of the
   policy, which there is not here; ``reference.refresh_every`` renews it, whole.
3. Skills that the demonstrations do not touch change less.

Like SFT it weighs completions alike: the mean over each one's tokens.

Use it to learn a skill or facts from demonstrations without forgetting others, with a model that follows an example.

What goes wrong: a small model that cannot answer in the way of an example has nothing to teach itself. A teacher that
is renewed after every step follows the student wherever it drifts, at large learning rates into nothing.

Settings of ``groupwise run`` (``run_defaults``):

1. Learning rate 1e-5 and 32 prompts with one completion of up to 256 tokens, one update a draw: those of on-policy
   distillation here. The paper's were not to be had.
"""

from dataclasses import replace

from groupwise.algorithm import Reference, SequenceMean
from groupwise.recipes.on_policy_distillation import on_policy_distillation
from groupwise.sources import OnPolicy

sdft = replace(
    on_policy_distillation,
    source=OnPolicy(group_size=1),
    aggregation=SequenceMean(),
    reference=Reference(
        sees="{prompt}\n\nSomebody answered this:\n{completion}\n\nNow answer it yourself, in the same way."
    ),
)

run_defaults: dict[str, object] = {"learning_rate": 1e-05, "prompts_per_step": 32, "minibatches": 1}
