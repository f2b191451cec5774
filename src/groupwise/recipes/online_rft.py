"""Online RFT: rejection sampling from the policy as it is now (DeepSeekMath table 10 and section 5.2.1).

    J = E_q~P_sft, o~π_θ [ (1/|o|) Σ_t I(o) log π_θ(o_t | q, o_<t) ]          GC = I(o)

How it differs from RFT, which it replaces:

1. The samples are drawn at every step from the policy that is being trained.
2. Nothing is de-duplicated: a right sample counts as often as the policy draws it.

Use it as the simplest on-policy method: right answers are reinforced alike, wrong ones are left alone.

What goes wrong: with nothing pushing wrong answers down, it learns slower than GRPO, and entropy falls fast.

Settings of ``groupwise run`` (``run_defaults``):

1. Learning rate 1e-6, 16 prompts with 8 completions, one update a draw: the paper compares it with GRPO, and names no
   numbers of its own for it.
"""

from dataclasses import replace

from groupwise.recipes.rft import rft
from groupwise.sources import OnPolicy

online_rft = replace(rft, source=OnPolicy(group_size=8))

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 1}
