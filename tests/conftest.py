"""What several test modules share: a small real model on disk, and rollouts made by hand."""

from __future__ import annotations

import gc
import os
import random
import shlex
import subprocess
import sys
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:  # the process that shares tests out among others reads this file, too, and runs none of them
    import torch

    from groupwise.learners.local import LocalLearner
    from groupwise.types import Group, Rollout

# Workers share the machine, so neither they nor the processes that they start compute in several threads: those of one
# would wait, computing, for those of another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Compiled modules are kept, here and in the processes that tests start: compiling what is there again, in each of three
# workers and hundreds of processes, is a tenth of all the time. What is kept lies in __pycache__, which git ignores.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Nobody cuts the power here, and to wait until a disk has what is written, ten times a checkpoint, takes longer than to
# write it. test_atomic.py sees every call, in processes of its own.
os.fsync = os.fstat  # type: ignore[assignment]
# The same examples every time, on any machine, however busy; `make faults` looks for new ones with the other profile.
settings.register_profile("groupwise", deadline=None, derandomize=True, database=None, max_examples=30)
settings.register_profile("search", deadline=None, max_examples=500)
settings.load_profile("groupwise")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """Workers are forks of the process that has loaded torch and transformers (helpers/warm.py), too: a third of what
    each takes until its first test."""
    import warm

    os.environ[warm.OWNER] = str(os.getpid())
    for spec in specs:
        spec.python = shlex.join(warm.COMMAND)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """While modules are imported and tests listed nothing becomes garbage, and looking for it takes seconds."""
    if session.config.pluginmanager.has_plugin("dsession"):
        return
    gc.disable()
    import torch

    from groupwise.isolation import pool

    torch.set_num_threads(1)
    # Each worker of a pool loads sympy, or a library of puzzles, for itself: one is enough where all share the machine.
    pool.MOST_WORKERS = 1


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Each worker begins to read tests at another place, so that each compiles others: on a fresh clone that takes a
    quarter of a minute, and once is enough."""
    report = yield
    name, count = (os.environ.get(f"PYTEST_XDIST_WORKER{what}", "") for what in ("", "_COUNT"))
    if isinstance(collector, pytest.Directory) and name and report.result:
        begins = len(report.result) * int(name.removeprefix("gw")) // int(count)
        report.result = report.result[begins:] + report.result[:begins]
    return report


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What is there now stays until the end, so it is not looked through again; and garbage is looked for seldom, which
    was a sixth of all the time."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(5_000, 20, 20)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Behind a file's last test its garbage goes, and what it has imported stays."""
    yield
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


def seed_everything(name: str) -> None:
    """Python's, numpy's and torch's own generators begin at a state that the name alone decides."""
    import numpy
    import torch

    seed = zlib.crc32(name.encode())
    random.seed(seed)
    numpy.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed writes down the stack, for devices that aren't here


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: Any, request: pytest.FixtureRequest) -> None:
    """What a fixture draws depends on the fixture, not on the tests that ran before it."""
    seed_everything(f"{fixturedef.baseid}::{fixturedef.argname}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """What a test draws depends on the test, not on those that ran before it."""
    seed_everything(item.nodeid)


SLOW = Path(__file__).with_name("slow.txt")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of the files in slow.txt, which ``make check`` leaves out, and begins with the slowest, so
    that no worker is left with it at the end."""
    lines = [line for line in SLOW.read_text().splitlines() if line[:1] != "#"]
    places = {Path(__file__).parents[1] / line: place for place, line in enumerate(lines)}
    for item in items:
        if item.path in places:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: (places.get(item.path, len(places)), str(item.path)))


SMALL = {"hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 64, "context_tokens": 128}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as ``save_pretrained`` leaves it; never written to by a test."""
    from groupwise.learners import NewModel

    directory = tmp_path_factory.mktemp("tiny") / "model"
    NewModel(**SMALL).save(directory)
    return directory


@pytest.fixture(scope="session")
def shallow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny one with one layer, where a second one would show nothing more; never written to by a test."""
    from groupwise.learners import NewModel

    directory = tmp_path_factory.mktemp("shallow") / "model"
    NewModel(**SMALL | {"layers": 1}).save(directory)
    return directory


@pytest.fixture(scope="session")
def roomy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer whose context holds the longest completions of any recipe, and whose chat template reads arguments, as
    those of thinking models do; never written to by a test."""
    from groupwise.learners import NewModel

    directory = tmp_path_factory.mktemp("roomy") / "model"
    NewModel(**SMALL | {"layers": 1, "context_tokens": 2048}).save(directory)
    template = directory / "chat_template.jinja"
    told = "{% set told = (enable_thinking, effort, depth, more, x) %}"
    template.write_text(told + template.read_text(encoding="utf-8"), encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def warm_ranks() -> Iterator[None]:
    """Processes that follow a learner of this module are forks of the warm one: each of them would load torch anew."""
    import warm

    from groupwise.learners import ranks
    from groupwise.learners.launch import PARENT

    def fork(command: Sequence[str], env: Mapping[str, str], **_: object) -> warm.Process:
        env = {name: value for name, value in env.items() if name != PARENT}  # its parent is the warm one
        return warm.Process(command[1:], env=env, stdout=2, stderr=2)

    names = {"Popen": fork, "DEVNULL": subprocess.DEVNULL, "TimeoutExpired": subprocess.TimeoutExpired}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "subprocess", SimpleNamespace(**names))
        yield
        ranks.end_ranks()


@pytest.fixture
def open_learner(tiny_model: Path) -> Callable[..., LocalLearner]:
    """``open_learner(**options of Local)``: a learner on the tiny model."""
    from groupwise.learners import Local

    def make(**options: object) -> LocalLearner:
        return Local(**{"device": "cpu", **options}).open(tiny_model)  # type: ignore[arg-type]

    return make


@pytest.fixture
def exact_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers' norms round to float32 even in a float64 model; with this they do not, so that equality to 1e-10
    can be asked for."""
    import torch.nn.functional as F
    from transformers.models.llama.modeling_llama import LlamaRMSNorm
    from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

    def forward(self: LlamaRMSNorm, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.variance_epsilon)

    for norm in (LlamaRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm):
        monkeypatch.setattr(norm, "forward", forward)


MakeRollout = Callable[..., "Rollout"]


@pytest.fixture
def make_rollout() -> MakeRollout:
    """``make_rollout(prompt, tokens, mask=, behavior=, rewards=)``: one attempt, all of it sampled by default."""
    from groupwise.types import Example, Prompt, Rollout

    def make(
        prompt: Sequence[int],
        tokens: Sequence[int],
        mask: Sequence[bool] | None = None,
        behavior: Sequence[float] | None = None,
        rewards: Mapping[int, float] | None = None,
    ) -> Rollout:
        return Rollout(
            prompt=Prompt(Example("row", "question"), tuple(prompt)),
            tokens=tuple(tokens),
            mask=tuple(mask) if mask is not None else (True,) * len(tokens),
            behavior_logprobs=tuple(behavior) if behavior is not None else (-1.0,) * len(tokens),
            text="",
            finished=True,
            version=0,
            rewards=dict(rewards or {}),
        )

    return make


@pytest.fixture
def random_groups(make_rollout: MakeRollout) -> Callable[..., list[Group]]:
    """``random_groups(seed, groups, size)``: ragged rollouts of random tokens with different rewards, one masked token
    in the middle of the longest."""
    import torch

    from groupwise.types import Group

    def make(seed: int = 0, groups: int = 3, size: int = 3, vocabulary: int = 261) -> list[Group]:
        draw = torch.Generator().manual_seed(seed)

        def integers(low: int, high: int, count: int) -> list[int]:
            return torch.randint(low, high, (count,), generator=draw).tolist()

        made = []
        for _ in range(groups):
            prompt = integers(5, vocabulary, integers(2, 9, 1)[0])
            rollouts = []
            for length in integers(1, 12, size):
                tokens = integers(5, vocabulary, length)
                mask = [not (length > 6 and place == 3) for place in range(length)]
                rewards = {length - 1: integers(0, 100, 1)[0] / 10}
                rollouts.append(make_rollout(prompt, tokens, mask, rewards=rewards))
            made.append(Group(rollouts[0].prompt, tuple(rollouts)))
        return made

    return make
