"""A process reward model without human labels (Math-Shepherd, arXiv 2312.08935; DeepSeekMath, algorithm 1).

    y_k = 1 if any of N continuations of o_≤k ends in the right answer, else 0          (hard estimation)
    y_k = the share of the N that do                                                    (soft estimation)

How it differs from the process reward model on given labels, which it replaces:

1. The solutions are samples of a policy that no longer changes, gathered once before the first step.
2. From the end of each step it continues N times; a step is as good as what can still come of it.
3. The task's rule judges the final answers only: nobody judges a step.

It samples from the model that the stage begins with; ``models`` names another. The task says what a step is
(``Task.steps``).

Use it where answers can be checked and steps cannot.

What goes wrong: a strong policy repairs wrong steps, so hard labels call them right; a weak one fails after right
steps, and calls them wrong. Steps × N continuations are most of the cost.

Settings of ``groupwise run`` (``run_defaults``):

1. Learning rate 2e-5, DeepSeekMath's for its reward model; Math-Shepherd's is 1e-6, on 440,000 solutions.
2. Math-Shepherd: 15 solutions a prompt; here 4 (``source.samples_per_prompt``), because each step of each costs the
   continuations below.
3. 8 continuations of each step, as in Math-Shepherd.
4. 64 solutions a step; the papers do not say.
"""

from dataclasses import replace

from groupwise.recipes.process_reward_model import process_reward_model
from groupwise.sources import MonteCarloSteps

process_reward_model_automatic = replace(process_reward_model, source=MonteCarloSteps())

run_defaults: dict[str, object] = {"learning_rate": 2e-05, "prompts_per_step": 64}
