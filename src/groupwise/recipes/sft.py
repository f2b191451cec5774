"""SFT, supervised fine-tuning: the first row of DeepSeekMath's table 10.

    J = E_(q,o)~P_sft [ (1/|o|) Σ_t log π_θ(o_t | q, o_<t) ]          GC = 1

It is the row that others replace:

1. The data are demonstrations: people chose them, so nothing is sampled and nothing is scored.
2. Every token has advantage 1.
3. Log-likelihood needs no ratio, no clip and no reference.
4. Each completion weighs the same however long it is (the paper's 1/|o|).

Use it to begin: it teaches format and vocabulary that sampling would never find.

What goes wrong: it imitates the slips of its data, and many epochs make the policy too sure to explore afterwards.

Settings of ``groupwise run`` (``run_defaults``):

1. Learning rate 5e-5, constant, as in the paper.
2. Paper: 256 rows a step, each of several examples in 4,096 tokens; here 64 examples, because a laptop learns from
   those in seconds.
3. Paper: 500 steps over 776,000 examples; here 100, which read 6,400: set ``steps`` by the size of your data.
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

run_defaults: dict[str, object] = {"learning_rate": 5e-05, "prompts_per_step": 64}
