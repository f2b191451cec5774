"""Where the system has no more threads, or no more memory, compiled code says so or goes on with what there is."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
import warm

from groupwise.kernels import learn

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux"),
    pytest.mark.skipif(bool(learn.why_not()), reason=f"no kernels here: {learn.why_not()}"),
]

PROGRAM = """
import ctypes, os, resource, sys
import torch
from groupwise import Local
from groupwise.algorithm import Outputs
from groupwise.engines import Native
from groupwise.engines.cpp import CppEngine
from groupwise.learners import NewModel
from groupwise.learners.memory import _address_space, ran_out
from groupwise.types import Example, Prompt, Request, Rollout, Sampling

torch.set_num_threads(1)
ctypes.CDLL(None).mallopt(-8, 1)  # one heap for all threads, and what is freed is given back: so a limit is felt
ctypes.CDLL(None).mallopt(-3, 65536)
NewModel(hidden_size=64, layers=2, heads=4, intermediate_size=512, context_tokens=256).save(sys.argv[2])
learner = Local(device="cpu", threads=3, tokens_per_micro_batch=100_000).open(sys.argv[2])
learner.start_stage("")
engine = Native(threads=3).open(learner.directory, learner.live_module(), learner.tokenizer)
assert isinstance(engine, CppEngine)
told = (True,) * 100, (-1.0,) * 100, "", True, 0
prompts = [Prompt(Example(str(row), "q"), tuple((row + place) % 250 + 5 for place in range(20))) for row in range(60)]
rollouts = [Rollout(prompt, (prompt.tokens * 5)[:100], *told) for prompt in prompts]
requests = [Request(prompt.tokens, tuple(range(9))) for prompt in prompts]


def learned():
    learner.backward(rollouts, 1.0, lambda _, said: Outputs(torch.ones_like(said.logprobs)))
    found = [parameter.grad.clone() for parameter in learner.model.parameters()]
    learner.discard()
    return found + [learner.logprobs(rollouts, 1.0, reference=True)]


def sampled():
    found = engine.generate(requests, Sampling(40, stop_tokens=(7, 8, 9, 10)))
    return sorted((number, index, completion.tokens) for number, index, completion in found)


def same(found, expected):
    return found == expected if isinstance(found[0], tuple) else all(map(torch.equal, found, expected))


def threads():
    return len(os.listdir("/proc/self/task"))


works = {"learned": learned, "sampled": sampled}
expected = {name: work() for name, work in works.items()}
learner.pool.close()
if sys.argv[1] == "processes":
    before = threads()
    if os.getuid() == 0:  # whom no limit binds
        os.setuid(65534)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    for name, work in works.items():
        assert same(work(), expected[name]), name
        assert threads() == before, name
        print(name, "the same")
    learner.step(1.0, 1e-3)
else:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    outcomes = []
    for room in (0, 1, 2, 4, 6, 9, 17, 40, 80, 160):
        for name, work in works.items():
            learner.pool.close()
            ctypes.CDLL(None).malloc_trim(0)
            learner.budget.tokens = 100_000
            resource.setrlimit(resource.RLIMIT_AS, (_address_space() + room * 2**20, hard))
            try:
                found = work()
            except Exception as error:
                resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
                if not (ran_out(error) or type(error).__name__ in ("MicroBatchTooLarge", "UserError")):
                    raise
                outcomes.append(name + ": " + type(error).__name__)
                learner.discard()
                continue
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
            assert same(found, expected[name]), (name, room)
            outcomes.append(name + ": the same")
    for name, work in works.items():
        assert same(work(), expected[name]), name
    print(sorted(set(outcomes)))
"""


UNTILED = """
import os, resource, sys
import torch
from transformers import GPT2Config, GPT2LMHeadModel
from groupwise import Local
from groupwise.algorithm import Outputs
from groupwise.learners import NewModel
from groupwise.learners.loading import load_tokenizer
from groupwise.types import Example, Prompt, Rollout

NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64).save(sys.argv[2])
config = GPT2Config(vocab_size=300, n_positions=64, n_embd=256, n_layer=2, n_head=2)
GPT2LMHeadModel(config).save_pretrained(sys.argv[2])
told = (True,) * 40, (-1.0,) * 40, "", True, 0
prompts = [Prompt(Example(str(row), "q"), tuple((row + place) % 250 + 5 for place in range(20))) for row in range(9)]
rollouts = [Rollout(prompt, prompt.tokens * 2, *told) for prompt in prompts]


def learned(threads, note=print):
    learner = Local(device="cpu", threads=threads).open(sys.argv[2], note)
    learner.backward(rollouts, 1.0, lambda _, said: Outputs(torch.ones_like(said.logprobs)))
    return [parameter.grad.clone() for parameter in learner.model.parameters()]


def limited():
    for folder, _, names in os.walk(sys.argv[2]):
        for name in (folder, *(os.path.join(folder, name) for name in names)):
            os.chmod(name, 0o755)
    if os.getuid() == 0:  # whom no limit binds
        os.setuid(65534)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    return learned(3)


torch.set_num_threads(1)
one = learned(1, lambda text: None)
child = os.fork()  # what has computed in one thread can be forked
if child == 0:
    found = limited()
    assert all(map(torch.equal, found, one))
    print("the numbers of one thread", flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def run(limit: str, place: Path, program: str = PROGRAM) -> str:
    place.chmod(0o755)
    done = warm.run(["-c", program, limit, str(place / "model")])
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_where_no_thread_can_be_made_the_caller_does_the_work(tmp_path: Path) -> None:
    assert run("processes", tmp_path) == "learned the same\nsampled the same\n"


def test_where_no_thread_can_be_made_torch_has_one() -> None:
    """Torch's own library ends the process where it finds none. The place is one that another user can read."""
    with tempfile.TemporaryDirectory() as place:
        said = run("processes", Path(place), UNTILED)
    assert "learner: the system gives 1 threads, fewer than " in said
    assert "the numbers of one thread" in said


def test_where_memory_ends_it_is_named_and_nothing_else_is_lost(tmp_path: Path) -> None:
    """At ten limits on the address space, below the stack of a thread and above: the same numbers, or an error that
    says that memory ran out; afterwards the same numbers."""
    said = run("memory", tmp_path)
    assert "learned: the same" in said
    assert "sampled: the same" in said
    assert "learned: MicroBatchTooLarge" in said
    assert "sampled: MemoryError" in said
