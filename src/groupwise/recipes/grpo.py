"""GRPO with outcome supervision (DeepSeekMath, arXiv 2402.03300, section 4.1).

    J = E (1/G) Σ_i (1/|o_i|) Σ_t { min[ r_{i,t} A_i, clip(r_{i,t}, 1-ε, 1+ε) A_i ] - β k3_{i,t} }        (eq. 3)
    A_i = (r_i - mean(r)) / std(r)
    GC  = A_i + β (π_ref/π_θ - 1)                                       with π_old = π_θ               (eq. 21)

How it differs from PPO, which it replaces:

1. No value network: the baseline is the mean reward of the prompt's own group.
2. One advantage for all tokens of a completion.
3. The KL to the reference is in the objective, not in the reward, and its estimator is k3.

Where the paper is silent: ε is 0.2 (TRL, verl), and std has Bessel's correction with nothing added to it. A group of
equal rewards has advantage exactly 0, while its KL term still acts.

Use it where a rule or model scores whole answers and several samples of a prompt can be compared.

What goes wrong: the division by |o| makes each token of a long wrong answer weigh little, so that wrong answers grow
longer; the division by std gives prompts that are nearly always or nearly never answered right more weight than others
(Dr. GRPO does without both). With several updates a draw the plain k3 has the gradient of neither KL
(``kl.weight live`` mends that).

Settings of ``groupwise run`` (``run_defaults``):

1. Learning rate 1e-6, constant, one update a draw, as in the paper.
2. Paper: 1,024 completions a step, 64 of each prompt, hence 16 prompts; here 16 prompts with 8 each, so that a laptop
   draws a step in minutes.
3. Paper: completions of up to 1,024 tokens; here 256 (``source.max_completion_tokens``), for the same reason.
"""

from groupwise.algorithm import KL, Algorithm, ClippedRatio, GroupRelative, SequenceMean
from groupwise.sources import OnPolicy

grpo = Algorithm(
    source=OnPolicy(group_size=8),
    advantage=GroupRelative(),
    objective=ClippedRatio(0.2, 0.2),
    kl=KL(0.04),
    aggregation=SequenceMean(),
)

run_defaults: dict[str, object] = {"learning_rate": 1e-06, "prompts_per_step": 16, "minibatches": 1}
