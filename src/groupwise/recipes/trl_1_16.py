"""GRPO as TRL 1.16 runs it when nothing is set (trl 1.16.0, ``GRPOConfig``; DeepSeekMath, arXiv 2402.03300).

    J = E (1/Σ_i|o_i|) Σ_i Σ_t min( r_{i,t} A_i, clip(r_{i,t}, 0.8, 1.2) A_i )
    A_i = (r_i - mean(r)) / (std(r) + 1e-4)

How it differs from GRPO, which it replaces:

1. ``loss_type="dapo"``: the mean goes over all tokens of the batch.
2. ``beta=0.0``: no KL and no reference. ``kl.coefficient`` turns on the form of its ``use_bias_correction_kl=True``,
   k3 with a live weight.
3. 1e-4 is added to the standard deviation (ddof 1).

Loss, gradient and advantages are those of its own code to 1e-10 (docs/parity.md). ``run_defaults`` has its optimiser
and batch: 8 completions, hence one prompt, an update; a learning rate that falls linearly to 0.

Where our number differs from theirs: with several updates a draw (``steps_per_generation`` above
``gradient_accumulation_steps``) TRL divides each by the draw's mean number of tokens an update, we by the update's own.
With ``use_vllm=True`` it also weighs completions: ``correction=RejectMismatch(0.0, 3.0, "sequence")``.

Use it to move a TRL script here and see the same numbers first.

What goes wrong: one prompt an update is a noisy gradient, and a group of equal rewards an update without any; raise
``prompts_per_step``. 512 tokens cut long reasoning short, and a truncated completion is learned from.

Settings of ``groupwise run`` (``run_defaults``):

1. 8 completions of one prompt an update, and one update a draw.
2. Learning rate 1e-6, falling linearly to 0; AdamW (0.9, 0.999) without decay, gradients clipped at 1.
"""

from groupwise.algorithm import KL, Algorithm, ClippedRatio, GroupRelative, TokenMean
from groupwise.sources import OnPolicy

trl_1_16 = Algorithm(
    source=OnPolicy(group_size=8, temperature=1.0, max_completion_tokens=512),
    advantage=GroupRelative(epsilon=1e-4),
    objective=ClippedRatio(0.2, 0.2),
    kl=KL(0.0, weight="live"),
    aggregation=TokenMean(),
)

run_defaults: dict[str, object] = {
    "prompts_per_step": 1,
    "minibatches": 1,
    "epochs": 1,
    "learning_rate": 1e-6,
    "schedule": "linear",
    "learning_rate_floor": 0.0,
    "warmup_steps": 0,
    "betas": (0.9, 0.999),
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
}
