"""A reward model from a policy's own answers, which a rule has judged (DeepSeekMath, algorithm 1 and section 4.1).

    J = E_q, o+,o-~π_sft log σ( s(q, o+) - s(q, o-) )

How it differs from the reward model on pairs from data, which it replaces:

1. The pairs are samples of a policy that no longer changes, gathered once before the first step.
2. The task's rule chooses them: of a prompt's samples the one with the highest and the one with the lowest reward.
3. Prompts whose samples are all alike give no pair; they are counted.

It samples from the model that the stage begins with (``models`` names others) and trains a scorer on its trunk. With
``select=AllRollouts()`` and ``GroupRelative`` every pair of different rewards counts.

Use it where a rule judges the training problems and a score is wanted where there is none, or to rank answers.

What goes wrong: it knows the mistakes of the policy that was sampled; a better policy makes others.

Settings of ``groupwise run`` (``run_defaults``):

1. Learning rate 2e-5, DeepSeekMath's for its reward model.
2. 64 pairs a step, as the reward model on pairs from data; the paper does not say.
3. 8 samples a prompt (``source.samples_per_prompt``); the paper does not say.
"""

from dataclasses import replace

from groupwise.recipes.reward_model import reward_model
from groupwise.sources import BestAndWorst, FrozenPolicy

reward_model_samples = replace(
    reward_model, source=FrozenPolicy(samples_per_prompt=8, sampling_temperature=1.0, select=BestAndWorst())
)

run_defaults: dict[str, object] = {"learning_rate": 2e-05, "prompts_per_step": 64}
