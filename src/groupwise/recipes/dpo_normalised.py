"""DPO as DeepSeekMath's table 10 has it: length-normalised, pairs from the policy's own frozen samples.

    J = E log σ( β [h(o+) - h(o-)] ),  h(o) = (1/|o|) Σ_t log π_θ(o_t)/π_ref(o_t),  o+, o- ~ π_sft

How it differs from DPO, which it replaces:

1. Each log-ratio is divided by its completion's length (appendix A.1.3).
2. The pairs are made here: of the samples of the policy that the stage finds, a rule picks the best and the worst.

The paper prints GC without the factor β and with ratios of tokens where means are meant; the gradient here is exact.

Use it where a rule can judge samples but sampling at every step is too dear.

What goes wrong: the samples grow stale; a prompt that is always right or always wrong makes no pair.

Settings of ``groupwise run`` (``run_defaults``):

1. DeepSeekMath names no numbers for it; these are DPO's: learning rate 1e-6, 64 pairs a step, 10 steps of warm-up.
"""

from dataclasses import replace

from groupwise.algorithm import PreferenceMargin
from groupwise.recipes.dpo import dpo
from groupwise.sources import BestAndWorst, FrozenPolicy

dpo_normalised = replace(
    dpo,
    source=FrozenPolicy(samples_per_prompt=8, sampling_temperature=1.0, select=BestAndWorst()),
    objective=PreferenceMargin(0.1, length_normalised=True),
)

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 64, "warmup_steps": 10}
