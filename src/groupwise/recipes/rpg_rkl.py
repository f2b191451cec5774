"""RPG, regularised policy gradient with the reverse KL (arXiv 2505.17508).

    J = E_π_old [ w A - β w log w ],  w = π_θ/π_old          GC = w (A - β (log w + 1))

How it differs from RPG with the unnormalised reverse KL, which it replaces:

1. The divergence is the reverse KL of normalised distributions; it differs by a constant β in the bracket.

A is the reward less the group's mean; ``advantage.baseline none`` is the plain reward of the paper's table. The
paper's clip is off; ``objective.low 0.1``, ``objective.high 0.1`` and ``objective.dual 3`` switch it on.

Use it for several updates a draw with an exact penalty and no reference network in memory.

What goes wrong: its β w is there on-policy too: noise of zero mean that a baseline would take away.
"""

from dataclasses import replace

from groupwise.algorithm import RegularisedRatio
from groupwise.recipes.rpg_urkl import rpg_urkl

rpg_rkl = replace(rpg_urkl, objective=RegularisedRatio("reverse", 1e-4))
