"""SFT, supervised fine-tuning: the first row of DeepSeekMath's table 10.

    J = E_(q,o)~P_sft [ (1/|o|) Σ_t log π_θ(o_t | q, o_<t) ]          GC = 1

It is the row that others replace:

1. The data are demonstrations: people chose them, so nothing is sampled and nothing is scored.
2. Every token has advantage 1.
3. Log-likelihood needs no ratio, no clip and no reference.
4. Each completion weighs the same however long it is (the paper's 1/|o|).

Use it to begin: it teaches format and vocabulary that sampling would never find.

What goes wrong: it imitates the slips of its data, and many epochs make the policy too sure to explore afterwards.
"""

from groupwise.algorithm import KL, Algorithm, Constant, LogLikelihood, SequenceMean
from groupwise.sources import Demonstrations

sft = Algorithm(
    source=Demonstrations(),
    advantage=Constant(1.0),
    objective=LogLikelihood(),
    kl=KL(0.0),
    aggregation=SequenceMean(),
)
