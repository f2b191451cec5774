"""Pre-training on plain text: what DeepSeekMath does before its table 10 begins (section 2.3).

    J = E_x [ Σ_t log π_θ(x_t | x_<t) ] / (tokens)          GC = 1

How it differs from SFT:

1. The data are documents, not answers: there is no prompt, and all of it is learned. One follows another, EOS between.
2. Every token weighs the same (TokenMean), where SFT weighs every completion the same.

Use it to give a model the language of a field before it is asked anything: mathematics, code, another language.

What goes wrong: what is trained on alone crowds out what was known before; mix in other text, with a weight each
(``--data mathematics*0.56 --data code*0.2``).

Settings of ``groupwise run`` (``run_defaults``):

1. Paper: learning rate 4.2e-4, up over 2,000 steps, down to 31.6 % of it after 80 % of the tokens and to 10 % after
   90 %; here the same rate and the same phases, with 20 steps up, because runs here have hundreds of steps.
2. Paper: 10 million tokens a step in sequences of 4,096; here 32 sequences as long as the model's context.
"""

from groupwise.algorithm import KL, Algorithm, Constant, LogLikelihood, TokenMean
from groupwise.sources import Documents

pretrain = Algorithm(
    source=Documents(),
    advantage=Constant(1.0),
    objective=LogLikelihood(),
    kl=KL(0.0),
    aggregation=TokenMean(),
)

run_defaults: dict[str, object] = {
    "learning_rate": 4.2e-4,
    "prompts_per_step": 32,
    "warmup_steps": 20,
    "schedule": "multistep",
}
