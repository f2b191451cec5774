"""Whoever adds an engine, a source, a learner, a sink or a reward writes one new file and changes one line of a recipe.

Each part is really written, beside a recipe that runs already, and a run with it takes its steps.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from groupwise.cli import main

RECIPE = '''"""One step of GRPO on three sums."""

from dataclasses import replace

from groupwise import Demonstrations, HeldOut, NewModel, Run, Stage, Task, recipes
from groupwise.types import Example
from groupwise import Local as Learner
from groupwise import Native as Engine
from groupwise import OnPolicy as Source
from groupwise import TensorBoard as Sink
from groupwise.rewards import FinalAnswer as Reward

ROWS = tuple(Example(f"sum:{n}", f"{n} + 1 =", completion=str(n + 1), answer=str(n + 1)) for n in range(3))
TASK = Task("sums", ROWS, held_out=ROWS[:1], rewards=(Reward(),))
GRPO = replace(recipes.grpo, source=Source(group_size=2, max_completion_tokens=4))
MODEL = NewModel(hidden_size=8, layers=1, heads=1, intermediate_size=8, context_tokens=32)
run = Run(
    "sums",
    MODEL,
    (Stage("grpo", GRPO, TASK, steps=1, prompts_per_step=2, learning_rate=1e-3),),
    learner=Learner(device="cpu", threads=1),
    engine=Engine(threads=1),
    evaluation=HeldOut(problems=1, sampled_problems=0, max_completion_tokens=4),
    evaluate_first=False,
    sinks=(Sink(),),
)
'''


class Part(NamedTuple):
    """A part that somebody adds."""

    line: str
    """The line of the recipe that names the part which is there."""
    instead: str
    """The same line with the new one."""
    text: str
    """The new file, called ``mine.py``."""
    shows: str
    """A file of the run and, behind a space, what it holds because the new part did its work."""


ENGINE = '''"""An engine of the plainest kind: the whole sequence goes through the model for every token."""

from dataclasses import dataclass

import torch

from groupwise.protocols import RolloutEngine, Stream
from groupwise.types import Completion, CompletionEvent, TokenEvent


@dataclass(frozen=True)
class Plain:
    """Its options, and how it is opened."""

    threads: int = 1

    def open(self, directory, live, tokenizer, note=print, *, dtype="float32", device="auto"):
        note("plain: here")
        return PlainEngine(live)


class PlainEngine(RolloutEngine):
    """Samples from the learner's own module."""

    def __init__(self, model):
        self.model, self.version, self.context_tokens = model, 0, 32

    def load(self, weights, version):
        self.version = version

    def stream(self, sampling, every_token=False):
        return PlainStream(self, sampling, every_token)


class PlainStream(Stream):
    """Completions one after the other."""

    def __init__(self, engine, sampling, every_token):
        self.engine, self.sampling, self.every_token, self.count, self.waiting = engine, sampling, every_token, 0, []

    def submit(self, request):
        self.count += 1
        self.waiting += [(self.count - 1, index, request, seed) for index, seed in enumerate(request.seeds)]
        return self.count - 1

    def events(self):
        while self.waiting:
            number, index, request, seed = self.waiting.pop(0)
            dice, drawn, logprobs = torch.Generator().manual_seed(seed % 2**63), [], []
            while len(drawn) < self.sampling.max_tokens and not (drawn and drawn[-1] in self.sampling.stop_tokens):
                ids = torch.tensor([[*request.tokens, *request.forced, *drawn]])
                with torch.no_grad():
                    logits = self.engine.model(input_ids=ids).logits[0, -1].float()
                table = torch.log_softmax(logits / (self.sampling.temperature or 1), 0)
                greedy = self.sampling.temperature == 0
                pick = table.argmax() if greedy else torch.multinomial(table.exp(), 1, generator=dice)
                drawn.append(int(pick))
                logprobs.append(float(table[drawn[-1]]))
                if self.every_token:
                    yield TokenEvent(number, index, drawn[-1])
            ended = drawn[-1] in self.sampling.stop_tokens
            yield CompletionEvent(number, index, Completion(tuple(drawn), tuple(logprobs), ended, self.engine.version))

    def cancel(self, number):
        self.waiting = [each for each in self.waiting if each[0] != number]

    def close(self):
        self.waiting = []
'''

SOURCE = '''"""A source that shows the rows from the last to the first, each with its own completion and a wrong one."""

from dataclasses import dataclass, replace

from groupwise.algorithm import Source
from groupwise.sources import Position, RolloutBatch
from groupwise.types import Group


@dataclass(frozen=True)
class Backwards(Source):
    """Rows from the end on; the row's own completion is worth 1, another row's 0."""

    group_size: int = 2
    max_completion_tokens: int = 4
    temperature: float = 1.0

    def draw(self, context, position: Position) -> RolloutBatch:
        rows, taken, groups = context.task.train, position.get("prompts", 0), []
        for number in range(taken, taken + context.prompts_per_step):
            row, other = rows[-1 - number % len(rows)], rows[-2 - number % (len(rows) - 1)]
            shown = [context.renderer.demonstration(each) for each in (row, replace(row, completion=other.completion))]
            pairs = zip(shown, (1.0, 0.0), strict=True)
            rollouts = [replace(rollout, rewards={rollout.last: worth}) for rollout, worth in pairs]
            groups.append(Group(shown[0].prompt, [replace(each, prompt=shown[0].prompt) for each in rollouts]))
        metrics = {"first_row": float(rows[-1].id.removeprefix("sum:"))}
        return RolloutBatch(groups, {"prompts": taken + context.prompts_per_step}, metrics)

    def completions_per_prompt(self) -> int:
        return 2
'''

LEARNER = '''"""A learner whose options are its own, and whose steps go by the gradient's signs."""

from dataclasses import dataclass

import torch

from groupwise.learners import Local
from groupwise.learners.local import LocalLearner


@dataclass(frozen=True)
class Signs:
    """Its options, and how it is opened."""

    device: str = "cpu"
    threads: int = 1
    tokens_per_micro_batch: int = 256
    dtype: str = "float32"
    rounds_adapters = False

    def with_threads(self, threads):
        return self

    def open(self, directory, note=print):
        options = Local(self.tokens_per_micro_batch, device=self.device, threads=self.threads)
        return SignLearner(options, directory, note)

    def open_scorer(self, directory, seed=0, note=print):
        raise NotImplementedError("it trains policies alone")


class SignLearner(LocalLearner):
    """Steps by signs (Bernstein et al., arXiv 1802.04434), without state."""

    def step(self, count, learning_rate, critic_learning_rate=0.0):
        with torch.no_grad():
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter -= learning_rate * parameter.grad.sign()
        self.discard()
        self.version += 1
        return {"grad_norm": 1.0, "skipped_updates": 0.0, "went_by_signs": 1.0}
'''

SINK = '''"""A tracker that counts what it is told."""

from dataclasses import dataclass

from groupwise.protocols import Sink


@dataclass(frozen=True)
class Counts:
    """Its options, and how it is opened."""

    def refuse(self):
        return

    def open(self, run):
        return CountingSink(run.directory / "counts.txt")


class CountingSink(Sink):
    """Writes a line for each step."""

    def __init__(self, path):
        self.path = path

    def metrics(self, stage, step, values):
        self.path.write_text(f"step {step} of {stage}: {len(values)} numbers")
'''

REWARD = '''"""A reward for short completions."""

from dataclasses import dataclass

from groupwise.types import Score


@dataclass(frozen=True)
class Short:
    """1 for no letter at all, and less the more there are."""

    name: str = "short"
    weight: float = 1.0

    def score(self, rollouts):
        return [Score(1.0 / (1 + len(rollout.text))) for rollout in rollouts]
'''

PARTS = {
    "engine": Part(
        "from groupwise import Native as Engine", "from mine import Plain as Engine", ENGINE, "out plain: here"
    ),
    "source": Part(
        "from groupwise import OnPolicy as Source",
        "from mine import Backwards as Source",
        SOURCE,
        'metrics.jsonl "first_row": 2',
    ),
    "learner": Part(
        "from groupwise import Local as Learner",
        "from mine import Signs as Learner",
        LEARNER,
        'metrics.jsonl "went_by_signs": 1',
    ),
    "sink": Part(
        "from groupwise import TensorBoard as Sink",
        "from mine import Counts as Sink",
        SINK,
        "counts.txt step 1 of grpo: ",
    ),
    "reward": Part(
        "from groupwise.rewards import FinalAnswer as Reward",
        "from mine import Short as Reward",
        REWARD,
        'metrics.jsonl "rewards/short/mean": ',
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_new_part_is_one_file_and_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    part = PARTS[name]
    assert RECIPE.splitlines().count(part.line) == 1
    (tmp_path / "recipe.py").write_text(RECIPE.replace(part.line, part.instead))
    (tmp_path / "mine.py").write_text(part.text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    code, said = main(["run", "recipe.py", "--out", "run"]), capsys.readouterr()
    assert code == 0, said.out + said.err
    file, _, words = part.shows.partition(" ")
    seen = said.out if file == "out" else (tmp_path / "run" / file).read_text()
    assert words in seen, seen
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    named = part.instead.split()[3]
    assert f'"is": "{named}"' in json.dumps(record) or f"mine.{named}" in json.dumps(record)
