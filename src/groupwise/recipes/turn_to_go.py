"""Turn to go, each turn against the others that reached it (no paper: REINFORCE with a baseline a turn).

    A_{i,t} = R_i(k) - mean_{j≠i} R_j(k)        k: the turn of token t, j: others of the group that reached turn k
    R(k)    = Σ of the rewards from turn k on

How it differs from Dr. GRPO, which it replaces:

1. What a turn is credited with is what came after it, not what had come before.
2. Its baseline is the mean of the others that came as far, so that it neither rewards nor prices further turns. Step
   scores that are pooled (DeepSeekMath 4.1.3) or centred turn by turn (MT-GRPO, arXiv 2505.11821) do: the page of
   ``grpo_process`` counts it out.
3. With one turn a completion the advantage is RLOO's.

A turn that nobody else reached has baseline 0.

Use it for environments that reward single turns, or whose reward depends on a few of many turns.

What goes wrong: of the last turns of long completions there are few to compare, or none, and their advantages are as
noisy as a raw reward; larger groups help. With one reward at the end it is the outcome less another baseline.

Settings of ``groupwise run`` (``run_defaults``):

1. Those of Dr. GRPO: learning rate 1e-6, one update a draw, 16 prompts with 8 completions of 256 tokens, which are here
   the tokens of all turns together.
"""

from dataclasses import replace

from groupwise.algorithm import TurnToGo
from groupwise.recipes.dr_grpo import dr_grpo

turn_to_go = replace(dr_grpo, advantage=TurnToGo())

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 1}
