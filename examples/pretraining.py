"""What a model was pre-trained on, and what it then learns from answers and from rewards: a whole run in a minute.

    groupwise run examples/pretraining.py --mathematics mathematics.jsonl --held_out unseen.jsonl
    groupwise run examples/pretraining.py --before code.jsonl --mathematics mathematics.jsonl --held_out unseen.jsonl

1. A new model of 110,000 parameters reads plain text (a file of rows with a column ``text``): what stands in
   ``--before`` in the first half of the steps, where it is given, and then mathematics. Every choice sees the same
   number of tokens. Bits per byte on held-out pages say how well it came to know them.
2. SFT on worked sums of two and three numbers, then GRPO on those of two, with the right answer as the reward: the same
   for every choice of text. Evaluated is on both, so that sums of three are out of the domain of RL.

``benchmarks/pretraining.py`` runs it with several texts and seeds and compares them (docs/observations.md).
"""

from dataclasses import replace

from groupwise import HeldOut, Local, NewModel, OnPolicy, Run, Stage, recipes, tasks

STEPS = 120  # of pre-training, 8 sequences of 256 tokens each
TWO, THREE = (
    tasks.stepwise(level=tasks.Difficulty(operands=(count, count), largest=20), held_out_size=40) for count in (2, 3)
)
HELD_OUT = tasks.held_out_sets({"two numbers": TWO.held_out, "three numbers": THREE.held_out})
SUMS = replace(tasks.stepwise(level=tasks.Difficulty(operands=(2, 3), largest=20)), held_out=HELD_OUT)


def run(
    mathematics: str, before: str | None = None, held_out: str | None = None, width: int = 64, seed: int = 0
) -> Run:
    """``mathematics``, ``before`` and ``held_out`` are files of documents: one, or several with a share of the tokens
    each, ``a.jsonl*0.8,b.jsonl*0.2``. ``width`` is the model's."""
    halves = [before, mathematics] if before else [mathematics]
    read = tuple(
        Stage(
            "pretrain" if number == len(halves) - 1 else "before",
            recipes.pretrain,
            tasks.from_file(file.split(","), held_out=held_out, held_out_fraction=0.0 if held_out else 0.1),
            steps=STEPS // len(halves),
            prompts_per_step=8,
            learning_rate=4e-3,
            warmup_steps=5,
            schedule="multistep",
        )
        for number, file in enumerate(halves)
    )
    sft = Stage("sft", recipes.sft, SUMS, steps=400, prompts_per_step=16, learning_rate=3e-3, warmup_steps=10)
    source = OnPolicy(group_size=8, max_completion_tokens=40)
    pairs = replace(TWO, held_out=HELD_OUT)
    grpo = Stage("grpo", replace(recipes.grpo, source=source), pairs, steps=8, prompts_per_step=16, learning_rate=5e-4)
    return Run(
        name="pretraining",
        model=NewModel(
            width, layers=2, heads=4, intermediate_size=3 * width, context_tokens=256, initializer_range=0.05
        ),
        stages=(*read, sft, grpo),
        seed=seed,
        learner=Local(betas=(0.9, 0.95), weight_decay=0.1),
        evaluation=HeldOut(problems=40, sampled_problems=40, samples=8, max_completion_tokens=40),
    )
