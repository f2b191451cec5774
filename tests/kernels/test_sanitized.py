"""Both compiled libraries with address and undefined-behaviour sanitizers, and without a warning."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from groupwise.kernels import build, learn

COMPILER = next(filter(None, map(shutil.which, build.COMPILERS)), "")
SANITIZED = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"

pytestmark = pytest.mark.skipif(not COMPILER, reason="no C++ compiler")

PROGRAM = """
import sys
from dataclasses import replace
import torch
from groupwise import Local
from groupwise.algorithm import Outputs
from groupwise.engines import Native
from groupwise.engines.cpp import CppEngine
from groupwise.kernels import build
from groupwise.learners import NewModel
from groupwise.learners import token_logprobs
from groupwise.learners.config import Lora
from groupwise.types import CompletionEvent, Example, Prompt, Request, Rollout, Sampling

build.FLAGS = tuple(sys.argv[2].split())
torch.set_num_threads(1)
prompts = [Prompt(Example(str(row), "q"), tuple((row + at) % 250 + 5 for at in range(3 + 9 * row))) for row in range(4)]
rollouts = [
    Rollout(prompt, (prompt.tokens * 20)[: 1 + 17 * number], (True,) * (1 + 17 * number), (-1.0,) * (1 + 17 * number),
            "", True, 0)
    for prompt in prompts
    for number in range(3)
]


def learn(learner):
    learner.start_stage("")
    learner.logprobs(rollouts, 1.0)
    learner.backward(rollouts, 0.7, lambda _, said: Outputs(torch.ones_like(said.logprobs)))
    assert learner.step(10.0, 1e-3)["skipped_updates"] == 0


def sample(learner):
    engine = Native(threads=2, max_rows=5).open(learner.directory, learner.live_module(), learner.tokenizer)
    assert isinstance(engine, CppEngine)
    requests = [Request(prompt.tokens, (1, 2, 3)) for prompt in prompts]
    rules = [{}, {"temperature": 0.0}, {"top_k": 5}, {"top_p": 0.8, "min_p": 0.01}]
    rules.append({"stop_tokens": (7, 8), "stop_strings": ("ab", "c")})
    for rule in rules:
        assert len(list(engine.generate(requests, Sampling(20, **rule), lambda *_: None))) == 12
    next(iter(engine.generate(requests, Sampling(20))))
    stream = engine.stream(Sampling(20), every_token=True)
    first = [replace(request, keep=True) for request in requests]
    numbers = [stream.submit(request) for request in first]
    for number, event in enumerate(stream.events()):
        if isinstance(event, CompletionEvent) and event.request in numbers[:3]:
            said = event.completion.tokens
            stream.submit(first[event.request].resumed(event.request, event.index, said, (9,) * 40 * event.index))
        if number == 30:
            stream.cancel(numbers[3])
    assert stream.held() > 0
    stream.close()


models = [
    (NewModel(hidden_size=48, layers=2, heads=3, intermediate_size=80, context_tokens=256), {}),
    (NewModel(hidden_size=48, layers=1, heads=2, intermediate_size=48, context_tokens=256), {}),  # head_dim 24
    (NewModel(hidden_size=64, layers=2, heads=2, intermediate_size=96, context_tokens=256), {"lora": Lora(rank=3)}),
    (NewModel(hidden_size=48, layers=2, heads=3, intermediate_size=80, context_tokens=256), {"dtype": "bfloat16"}),
]
for number, (model, options) in enumerate(models):
    model.save(f"{sys.argv[1]}/{number}")
    for threads in (1, 3):
        learner = Local(device="cpu", threads=threads, tokens_per_micro_batch=300, **options).open(
            f"{sys.argv[1]}/{number}")
        learn(learner)
    token_logprobs.KEPT_ELEMENTS = 0 if number else token_logprobs.KEPT_ELEMENTS
    sample(learner)
torch.manual_seed(0)
for words, width, dtype in [(9000, 32, torch.float32), (9001, 33, torch.bfloat16), (67, 1, torch.bfloat16)]:
    hidden, matrix = (torch.randn(count, width).to(dtype).requires_grad_() for count in (67, words))
    token_logprobs.token_logprobs(hidden, matrix, torch.arange(67), 1.0, learner.pool)[0].sum().backward()
print("clean")
"""


def compiled(compiler: list[str], name: str) -> Path:
    begins = build.cache_directory() / f"{name}-{build.fingerprint(compiler)}"
    if place := build.compiled(begins):
        return place
    for old in begins.parent.glob(f"{name}-*.so"):
        old.unlink()
    return build.compile_to(begins, build.HERE / f"{name}.cpp", compiler)


@pytest.mark.parametrize("without", ["", "avx512bf16", "avx512f"])
@pytest.mark.parametrize("name", ["learn", "decode"])
def test_no_warning(name: str, without: str) -> None:
    """Nor on an older processor; that vectors wider than its own are passed otherwise elsewhere is no matter to
    libraries whose functions take none."""
    if without and platform.machine() != "x86_64":
        pytest.skip("instructions of another processor")
    warnings = ["-Wall", "-Wextra", "-Wconversion", "-Werror", "-Wno-psabi", "-fsyntax-only"]
    less = [f"-mno-{without}"] if without else []
    command = [COMPILER, *build.FLAGS, *less, *warnings, str(build.HERE / f"{name}.cpp")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[:3000]


@pytest.mark.skipif(bool(learn.why_not()), reason=f"no kernels here: {learn.why_not()}")
def test_sampling_and_learning_touch_nothing_that_is_not_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """What was compiled so is kept beside the checkout for as long as the sources stay the same."""
    library = subprocess.run([COMPILER, "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    trial = subprocess.run(
        [COMPILER, "-x", "c++", "-", *SANITIZED.split(), "-o", str(tmp_path / "trial")],
        input="int main() {}",
        text=True,
    )
    if trial.returncode or not Path(library).is_absolute():
        pytest.skip("this compiler has no sanitizers")
    compiler, flags = f"{COMPILER} {SANITIZED}", tuple("-Og" if flag == "-O3" else flag for flag in build.FLAGS)
    monkeypatch.setattr(build, "FLAGS", flags)
    kept = getattr(request.config, "cache", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept.mkdir("sanitized") if kept else tmp_path / "cache"))
    with ThreadPoolExecutor() as both:  # here and not in the child, in which the compiler too would be watched
        list(both.map(partial(compiled, shlex.split(compiler)), ("learn", "decode")))
    environment = dict(os.environ) | {
        "CXX": compiler,
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), " ".join(flags)],
        capture_output=True,
        text=True,
        timeout=1800,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    assert done.stdout == "clean\n"
    assert "compiling" not in done.stderr
