"""GRPO as DeepSeek-V3.2 scales it (arXiv 2512.02556, section 3.1).

    J = E (1/G) Σ_i (1/|o_i|) Σ_t { M_i min( r A_i, clip(r) A_i ) - β r k3 },  A_i = r_i - mean(r)

How it differs from GRPO, which it replaces:

1. Unbiased KL: k3 is weighted by the live ratio r, which makes its gradient that of KL(π_θ‖π_ref), off-policy too.
2. Off-policy sequence mask: M_i = 0 for a completion with A < 0 from which the policy has gone more than δ nats a token
   away, by the sampler's own probabilities. The penalty is not masked.
3. Keep sampling mask: sampling is cut at top-p, and the learner renormalises over the same tokens.
4. No 1/std.

δ, β and top-p are unpublished; 0.5 is what TRL's documentation suggests, β is R1's. Routing replay concerns mixtures of
experts on another engine and is not needed where engine and learner share one model.

Use it for many updates a draw and for samplers that are not quite the learner.

What goes wrong: δ too small drops all negative examples; watch the share of masked completions.

Settings of ``groupwise run`` (``run_defaults``):

1. The paper publishes no batch and no learning rate; here 1e-6, 16 prompts with 8 completions.
2. 4 updates a draw: with one nothing has gone from the sampler, so that neither the mask nor the weight acts.
"""

from dataclasses import replace

from groupwise.algorithm import KL, GroupRelative, OffPolicySequenceMask
from groupwise.recipes.grpo import grpo
from groupwise.sources import OnPolicy

deepseek_v3_2 = replace(
    grpo,
    source=OnPolicy(group_size=8, top_p=0.95),
    advantage=GroupRelative(scale="none"),
    kl=KL(0.001, "k3", weight="live"),
    correction=OffPolicySequenceMask(0.5),
)

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 4}
