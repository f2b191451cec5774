"""GiGPO, group-in-group policy optimisation (arXiv 2505.10978).

    A = A^E + ω A^S                                                                                    (eq. 8)
    A^E = (R_i - mean(R)) / std(R)        R: the sum of an episode's rewards, over its group           (eq. 3)
    A^S = (Q - mean(Q)) / std(Q)          over the turns of the group that begin in one state          (eq. 6 and 7)
    Q   = Σ_{l≥k} γ^(l-k) r_l             r_l: the reward of turn l

How it differs from GRPO, which it replaces:

1. A second advantage, of turns: those of the group in which the policy had just heard the same (an anchor state) are
   compared by their discounted returns. A state met once has none.
2. The state is what the environment said, not what stands before it (``advantage.state history`` is that). Of a first
   turn it is the prompt, and a later return to the same place is another state.
3. Every token of the batch weighs the same, as in verl, on which the authors' code is built.
4. β = 0.01, as in the authors' scripts.

The paper's F is std or 1 (``advantage.scale none``). A group or a state with one member has advantage 0.

Use it where episodes often come through the same states: games, shops, households.

What goes wrong: where no state is met twice it is GRPO over episodes; with γ < 1 a longer way back to a state looks
worse than a short one. Completions of one turn have one state, the prompt, and get (1 + ω) times GRPO's advantage.

Settings of ``groupwise run`` (``run_defaults``):

1. ω = 1 and γ = 0.95 as in the authors' scripts, which also have the learning rate of 1e-6 and 16 prompts with 8
   completions a step.
2. Theirs make an update for 256 turns; here one a draw.
"""

from dataclasses import replace

from groupwise.algorithm import KL, AnchorStates, TokenMean
from groupwise.recipes.grpo import grpo

gigpo = replace(grpo, advantage=AnchorStates(), kl=KL(0.01), aggregation=TokenMean())

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 1}
