"""DAPO, decoupled clip and dynamic sampling (arXiv 2503.14476).

    J = E (1/Σ_i|o_i|) Σ_i Σ_t min( r A_i, clip(r, 1-ε_l, 1+ε_h) A_i )        0 < right answers in the group < G

How it differs from GRPO, which it replaces:

1. Clip-higher: 1 + 0.28 leaves unlikely tokens room to grow, 1 - 0.2 stays.
2. Dynamic sampling: groups that are all right or all wrong are replaced by new ones, at most ``most_rounds`` times.
   What counts is the verdict of the task's judge, not a bonus for length.
3. Token mean: every token of the batch weighs the same. The formula divides within each group
   (``GroupTokenMean``); the authors' and others' code divides by the batch's tokens, as here.
4. Overlong filter: truncated completions are masked; their rewards still count in their group.
5. No KL penalty.

The soft overlong punishment is a reward: ``LengthPenalty`` in groupwise.rewards, beside the task's own.

Use it for long reasoning with a rule that says right or wrong.

What goes wrong: on a task that is nearly solved (or hopeless) redrawing costs most of the sampling; the log counts it.

Settings of ``groupwise run`` (``run_defaults``):

1. Learning rate 1e-6, constant after 20 steps of warm-up, as in the paper.
2. 16 updates a draw, as in the paper: there of 512 completions, here of 16, one group.
3. Paper: 512 prompts with 16 completions; here 16 prompts, so that a laptop draws a step in minutes.
4. Paper: completions of up to 20,480 tokens, the last 4,096 with the soft punishment; here 256 tokens, for the same
   reason.
"""

from dataclasses import replace

from groupwise.algorithm import KL, ClippedRatio, TokenMean
from groupwise.recipes.grpo import grpo
from groupwise.sources import OnPolicy, mixed

dapo = replace(
    grpo,
    source=OnPolicy(group_size=16, without_signal="redraw", signal=mixed),
    objective=ClippedRatio(0.2, 0.28),
    kl=KL(0.0),
    aggregation=TokenMean(),
    truncated="mask",
)

run_defaults: dict[str, object] = {
    "learning_rate": 1e-06,
    "prompts_per_step": 16,
    "minibatches": 16,
    "warmup_steps": 20,
}
