"""Process supervision in a minute or two: a rule scores every step, no reward model is trained.

    groupwise run examples/process.py
    groupwise explain grpo_process --run runs/process --stage process --step 1 --against grpo

1. A small new model learns stepwise arithmetic from demonstrations, one step in four of which has a slip.
2. GRPO with process supervision goes on from there. The rule (``tasks.StepRule``) gives each line 1 or 0: a calculation
   is right where it is the question's next one, begins with the result of the line before and is true, and so is every
   line before it.
3. The second command shows what a step score changes: the same rollouts under outcome supervision beside it.
"""

from dataclasses import replace

from groupwise import HeldOut, Local, NewModel, OnPolicy, Run, Stage, recipes, tasks
from groupwise.algorithm import KL

task = tasks.stepwise(level=1, slips=0.25)  # 12 + 7 - 4 = ?
judged = replace(task, rewards=(tasks.StepRule(so_far=True),), referee=task.rewards)  # evaluated by the final answer

symbols = (" + ", " - ", " = ?", "<<", ">>\n", "#### ")
numbers = tuple(str(number) for number in range(100))

run = Run(
    name="process",
    model=NewModel(initializer_range=0.08, pieces=symbols + numbers),
    stages=(
        Stage("sft", recipes.sft, task, steps=400, prompts_per_step=32, learning_rate=3e-3, schedule="cosine"),
        Stage(
            "process",
            replace(recipes.grpo_process, source=OnPolicy(group_size=16, max_completion_tokens=48), kl=KL(0.001)),
            judged,
            steps=20,
            prompts_per_step=32,
            learning_rate=2e-4,
            warmup_steps=3,
            schedule="linear",
        ),
    ),
    learner=Local(threads=2, betas=(0.9, 0.99), weight_decay=0.1),
    evaluation=HeldOut(problems=200, sampled_problems=0, samples=1, max_completion_tokens=48),
)
