"""RFT, rejection-sampling fine-tuning (arXiv 2308.01825; DeepSeekMath table 10).

    J = E_q~P_sft, o~π_sft [ (1/|o|) Σ_t I(o) log π_θ(o_t | q, o_<t) ]          GC = I(o)

How it differs from SFT, which it replaces:

1. The completions are samples of a policy that no longer changes, gathered once before the first step.
2. The judge of the task says what is right: I(o) = 1 where it calls the answer right, whatever other rewards say, and
   for a demonstration; a wrong inline calculation disqualifies a sample too.
3. Of samples with the same equation list one stays: the one farthest, in edit distance, from the others that stay.

The paper samples 100 at temperature 0.7 and trains the *pre-trained* model on demonstrations and samples together
(``Stage(start="first")``, ``demonstrations=True``); DeepSeekMath goes on from the SFT model (``start="last"``, the
default) and mentions no de-duplication (``duplicates="keep"``). ``models`` pools the samples of several policies.

Use it when sampling once is all that can be afforded, or when a larger model's samples shall teach a smaller one.

What goes wrong: easy questions have many right samples and dominate; the samples grow stale as the policy improves.

Settings of ``groupwise run`` (``run_defaults``):

1. Learning rate 2e-5 after 3 % of warm-up, as in the paper; the cosine after it, and no decay of weights, are those of
   the authors' script. Paper: 128 rows a step; here what was kept of 32 prompts, which is about as many.
2. Paper: 100 samples a prompt; here 16 (``source.samples_per_prompt``), because sampling comes first and is most of the
   time.
3. Paper: three passes over what was kept; here 100 steps: set ``steps`` by the size of your data.
"""

from groupwise.algorithm import KL, Accepted, Algorithm, LogLikelihood, SequenceMean
from groupwise.sources import DistinctPaths, FrozenPolicy

rft = Algorithm(
    source=FrozenPolicy(samples_per_prompt=16, sampling_temperature=0.7, select=DistinctPaths()),
    advantage=Accepted(),
    objective=LogLikelihood(),
    kl=KL(0.0),
    aggregation=SequenceMean(),
)

run_defaults: dict[str, object] = {
    "learning_rate": 2e-05,
    "prompts_per_step": 32,
    "warmup_steps": 3,
    "schedule": "cosine",
    "weight_decay": 0.0,
}
