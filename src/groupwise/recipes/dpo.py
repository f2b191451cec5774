"""DPO, direct preference optimisation on pairs from data (arXiv 2305.18290).

    J = E_(q,o+,o-) log σ( β [h(o+) - h(o-)] ),  h(o) = Σ_t log π_θ(o_t)/π_ref(o_t)
    GC = ± β σ( β [h(o-) - h(o+)] )          + on the tokens of o+, - on those of o-

How it differs from SFT, which it replaces:

1. The data are pairs: of two completions of a prompt one was preferred.
2. The objective sees both at once; a pair that the policy already ranks well has a small gradient.
3. A reference policy keeps it near: β says how far a preference may carry.

Use it where preferences exist and no rule or reward model can score a new sample.

What goes wrong: both probabilities may fall while their margin grows; long completions dominate the sum (see
``length_normalised``, DeepSeekMath's own form, which differs in exactly that).

Settings of ``groupwise run`` (``run_defaults``):

1. Learning rate 1e-6, 64 pairs a step, as in the paper.
2. Paper: RMSprop, and a warm-up of 150 steps; here AdamW, and 10 of 100 steps.
"""

from groupwise.algorithm import KL, Algorithm, GroupTokenMean, Preference, PreferenceMargin
from groupwise.sources import Pairs

dpo = Algorithm(
    source=Pairs(),
    advantage=Preference(),
    objective=PreferenceMargin(0.1),
    kl=KL(0.0),
    aggregation=GroupTokenMean(),
)

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 64, "warmup_steps": 10}
