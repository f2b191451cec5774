"""A reward model: a score for a completion, learned from pairs (Bradley-Terry; InstructGPT, arXiv 2203.02155).

    J = E_(q,o+,o-) log σ( s(q, o+) - s(q, o-) )          s: a number read after the last token

How it differs from DPO, which it replaces:

1. What learns is a scorer: the model's trunk with a scalar head in place of the vocabulary's.
2. There is no reference and no β: only differences of scores matter, so any shift of all scores is free.
3. What it leaves scores other completions, of any policy: it is a reward, and samples no text itself.

Use it where people can say which of two answers is better, and no rule can. ``Ranking`` in place of ``Preference``
takes K completions, best first; ``BradleyTerry(margin=1.0)`` asks for a distance, ``centring=0.01`` keeps scores near
0.

What its number means, and what a policy makes of it: J sees differences within a prompt alone, so that s + c(q) fits
as well as s for any c, of each prompt its own, and how far scores lie apart depends on how long it was trained. A score
of 2 is neither good nor twice 1. ``ModelReward.scale`` (``--reward outcome:DIR,SCALE``) says what a policy gets:

* ``standardised``: (s - mean) / spread over what the policy samples before its first step; measured once, and kept.
  GRPO loses any scale and shift anyway (mean and std of the group take them out), so nothing changes but the size of a
  KL in the reward beside it. PPO does not: returns, what the critic must learn, and the reward against β are so large.
* ``sigmoid``: σ(s), between 0 and 1, flat where scores are extreme. The rank within a group stays, distances do not:
  under GRPO, too, the best of many good answers gains less. Scores far from 0 saturate, so train with ``centring``.
* ``clipped LOW HIGH``: as it is in between; beyond an end all are equal, and a group there has no signal.
* ``none``: as it is. Enough for GRPO; not for a sum with other rewards, nor for PPO with β of another run.

Methods that divide by no deviation (Dr. GRPO, RLOO, REINFORCE++ before it whitens) lose the shift and keep the scale.

What goes wrong: it learns length and style where those go with the choice (held-out results stand beside those of
preferring the longer one); a policy that trains on it finds what it overrates. Begin with the policy's own weights, one
epoch, and a small learning rate.

Settings of ``groupwise run`` (``run_defaults``):

1. Learning rate 2e-5, DeepSeekMath's for its reward model: the head is new and learns nothing at the 1e-6 of a policy.
2. 64 pairs a step, InstructGPT's; one pass over the data is what both papers make: set ``steps`` by its size (100 read
   6,400 pairs).
"""

from groupwise.algorithm import KL, Algorithm, BradleyTerry, GroupTokenMean, Preference
from groupwise.sources import Pairs

reward_model = Algorithm(
    source=Pairs(),
    advantage=Preference(),
    objective=BradleyTerry(),
    kl=KL(0.0),
    aggregation=GroupTokenMean(),
)

run_defaults: dict[str, object] = {"learning_rate": 2e-05, "prompts_per_step": 64}
