"""This module makes a task of held-out questions of a benchmark; ``suite_table`` has the benchmarks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from groupwise.environments.turns import Turns
from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.tasks.programs import ProgramTurns
from groupwise.tasks.suite_prompts import Form, form_of
from groupwise.tasks.suite_table import SUITES
from groupwise.tasks.task import Task
from groupwise.tasks.values import nearest
from groupwise.types import Example

TEST_SECONDS = 30.0
"""Of one test: the reference program of a row of MBPP (amicable numbers below 9,999) takes more than five."""


@dataclass(frozen=True)
class Asking:
    """This says how benchmarks are asked and judged."""

    prompt: str = "plain"
    """The name of a form (``suite_prompts.FORMS``)."""
    shots: int | None = None
    """Worked examples before each question; None: the form's own number."""
    tools: bool = False
    """Whether programs that the model writes are run and their outputs told to it."""
    rewards: tuple[str, ...] = ()
    """What says what is right, in place of the form's rule or the benchmark's."""
    most_turns: int = 6
    """Of an answer whose programs are run."""


def suite_task(name: str, data: str | None = None, asking: Asking = Asking()) -> Task:
    """Returns one benchmark as a task.

    ``data``: the folder where it lies; None: the hub. Raises UserError for an unknown name or prompt, with the nearest,
    for more worked examples than there are, and where the data are not there.
    """
    if name not in SUITES:
        raise UserError(f"no benchmark {name}{nearest(name, tuple(SUITES))}; there are {', '.join(SUITES)}")
    suite, tools = SUITES[name], asking.tools and SUITES[name].form is None
    form = suite.form or form_of(asking.prompt, suite.is_chinese, asking.tools)
    shots = 0 if suite.form else asking.shots
    rows = [_asked(row, form, shots) for row in suite.rows(name, data)]
    own = form.reward if form.reward and not tools else suite.reward
    rewards = tuple(map(_reward, asking.rewards or (own,)))
    task = Task(name, (), rewards, held_out=rows, stop_strings=form.stops)
    task = replace(task, chat="never") if form.goes_on else task
    if suite.reward == "code":
        task = replace(task, rewards=tuple(_of_programs(reward, name == "humaneval") for reward in task.rewards))
    return _with_tools(task, asking.most_turns) if tools else task


def _asked(row: Example, form: Form, shots: int | None) -> Example:
    tests = row.columns.get("test_list", ())
    shown = tests if isinstance(tests, str) else "\n".join(map(str, tests))
    form = replace(form, question=form.question.replace("{tests}", shown))  # before the question, which may have braces
    return replace(row, prompt=form.write(str(row.prompt), shots))


def _with_tools(task: Task, most: int) -> Task:
    """The task with programs that are run; its reward also reads what they printed, and another reads nothing else."""
    from groupwise.rewards.told import LastOutput, Told

    rewards: tuple[Reward, ...] = (*(Told(reward) for reward in task.rewards), LastOutput())
    return replace(task, rewards=rewards, referee=rewards[:1], environment=ProgramTurns(), turns=Turns(most))


def _of_programs(reward: Reward, is_begun: bool) -> Reward:
    from groupwise.rewards.programs import Code

    if not isinstance(reward, Code):
        return reward
    return replace(reward, begun="prompt" if is_begun else "", time_limit_seconds=TEST_SECONDS)


def _reward(name: str) -> Reward:
    from groupwise.rewards import by_name

    return by_name(name)
