"""Online DPO: pairs from the policy as it is now (arXiv 2402.04792).

    J = E_q, o+,o-~π_θ log σ( β [h(o+) - h(o-)] ),  h(o) = Σ_t log π_θ(o_t)/π_ref(o_t)

How it differs from DPO, which it replaces:

1. At every step a group is sampled, and its best and worst completion by reward become the pair.
2. Groups whose rewards are all equal make no pair.

Use it where a reward exists and only its order can be trusted, not its size.

What goes wrong: of a group only two completions teach anything.

Settings of ``groupwise run`` (``run_defaults``):

1. Learning rate 1e-6 and 10 steps of warm-up, DPO's.
2. 16 prompts with 8 completions, hence 16 pairs a step: as many completions as GRPO draws here. The paper draws two of
   each of many more prompts.
"""

from dataclasses import replace

from groupwise.recipes.dpo import dpo
from groupwise.sources import BestAndWorst, OnPolicy

online_dpo = replace(dpo, source=OnPolicy(group_size=8, select=BestAndWorst()))

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "warmup_steps": 10}
