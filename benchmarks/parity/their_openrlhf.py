"""OpenRLHF's own lines: its command line, RemoteExperienceMaker, ActorPPOTrainer and CriticPPOTrainer.

What is replaced is what needs several processes and a GPU: ray's put and get, DeepSpeed's strategy, the models' output.
deepspeed, vllm and flash_attn are imported by these modules and called by nothing that runs here.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import openrlhf  # noqa: F401  registers itself with transformers before the absent ones are there
import ray
import torch
from draws import Draw, Found
from torch import Tensor

ABSENT = ("deepspeed", "flash_attn", "vllm", "torchmetrics")


class Absent:
    """Finder and loader of modules that cannot be installed without a GPU."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in ABSENT else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return MagicMock(__path__=[], __spec__=spec, __name__=spec.name)

    def exec_module(self, module: ModuleType) -> None: ...


@contextmanager
def _absent() -> Iterator[None]:
    """They are there in this block only, lest others believe that they are installed."""
    finder = Absent()
    sys.meta_path.append(finder)  # type: ignore[arg-type]
    try:
        yield
    finally:
        sys.meta_path.remove(finder)  # type: ignore[arg-type]
        for name in [name for name in sys.modules if name.partition(".")[0] in ABSENT]:
            del sys.modules[name]


with _absent():
    from openrlhf.trainer.ppo_utils import experience_maker
    from openrlhf.trainer.ppo_utils.experience import Experience
    from openrlhf.trainer.ppo_utils.kl_controller import FixedKLController
    from openrlhf.trainer.ray import ppo_actor, ppo_critic


class ParsedError(Exception):
    """Carries the arguments out of its main program."""


class Maker(experience_maker.RemoteExperienceMaker):
    """Groups of models are lists of what they would answer."""

    def _dispatch_forward(self, group: list[Any], sync_condition: bool, **_: Any) -> list[Any]:
        return group


def openrlhf_(draw: Draw, flags: Sequence[str] = (), updates: int = 1, single: bool = False) -> Found:
    """``flags`` of its command line, such as ``--algo.advantage.estimator group_norm`` as two strings.

    ``updates``: train batches a draw. ``single``: what it casts to float32 is float32, as in its own runs.
    """
    args = _arguments("--rollout.n_samples_per_prompt", str(draw.group_size), *flags)
    torch.set_default_dtype(torch.float32 if single else torch.float64)
    try:
        with _alone(single):
            experience, coefficient = _experience(draw, args)
            found = _actor(draw, args, experience, coefficient, updates)
            return _critic(draw, args, experience, found, updates) if args.algo.advantage.estimator == "gae" else found
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def _alone(single: bool) -> Iterator[None]:
    """One process, no GPU; and what it casts to float32 stays float64, so that rounding hides no formula."""
    here = SimpleNamespace(put=lambda x: x, get=lambda x: x)
    double = patch.object(Tensor, "float", Tensor.float if single else Tensor.double)
    device = patch.object(torch.cuda, "current_device", lambda: 0)
    barrier = patch.object(ppo_actor, "torch_dist_barrier_and_cuda_sync")
    with double, device, barrier, patch.object(experience_maker, "ray", here):
        yield


def _arguments(*flags: str) -> Any:
    """Its own parser and checks, stopped where training would begin."""

    def parsed(args: Any) -> None:
        raise ParsedError(args)

    line = ["train_ppo_ray", "--actor.model_name_or_path", "x", "--reward.remote_url", "x", *flags]
    started = patch.object(ray, "is_initialized", return_value=True)
    with patch("openrlhf.utils.get_strategy", parsed), started, patch.object(sys, "argv", line), _absent():
        try:
            runpy.run_module("openrlhf.cli.train_ppo_ray", run_name="__main__")
        except ParsedError as found:
            return found.args[0]
    raise RuntimeError("its main program ended without a strategy")


def _experience(draw: Draw, args: Any) -> tuple[Experience, float]:
    """The whole draw as one training batch, advantages in it; and the KL coefficient."""
    rows = [slice(0, length) for length in draw.lengths]
    samples = [_sample(draw, row, part) for row, part in enumerate(rows)]

    def say(tensor: Tensor) -> list[list[Tensor]]:
        return [[tensor[row : row + 1, part]] for row, part in enumerate(rows)]

    critic = say(draw.old_values) if args.algo.advantage.estimator == "gae" else None
    reference = say(draw.reference) if args.algo.kl.init_coef > 0 else None
    control = FixedKLController(args.algo.kl.init_coef)
    maker = Maker(
        say(draw.old), critic, None, reference, control, SimpleNamespace(args=args), SimpleNamespace(pad_token_id=0)
    )
    return Experience.concat_experiences(maker.make_experience_batch(samples), 0), control.value


def _sample(draw: Draw, row: int, part: slice) -> Experience:
    length, reward = part.stop, draw.rewards[row : row + 1].float()  # which _alone makes a double
    ones = torch.ones(1, length, dtype=torch.long)
    return Experience(
        sequences=ones,
        attention_mask=ones,
        action_mask=ones,
        rollout_log_probs=draw.behavior[row : row + 1, part],
        rewards=reward.clone(),
        response_length=torch.tensor([length]),
        truncated=~draw.finished[row : row + 1],
        total_length=torch.tensor([float(length)]),
        info={"reward": reward},
    )


def _strategy(args: Any, losses: list[Tensor]) -> Any:
    return SimpleNamespace(
        args=args,
        ring_attn_group=None,
        backward=lambda loss, *_: losses.append(loss),
        optimizer_step=lambda *_, **__: None,
        get_grad_norm=lambda *_: 0.0,
    )


def _actor(draw: Draw, args: Any, experience: Experience, coefficient: float, updates: int) -> Found:
    leaf = draw.logprobs.clone().requires_grad_()
    entropy = draw.entropy.clone().requires_grad_()
    losses: list[Tensor] = []
    for part in draw.parts(updates):
        model = MagicMock(return_value=(leaf[part], SimpleNamespace(entropy=entropy[part])), is_vlm=False)
        trainer = ppo_actor.ActorPPOTrainer(_strategy(args, losses), model, None, None, MagicMock())
        trainer.training_step(_rows(experience, part), coefficient, 0)
    gradient, of_entropy = torch.autograd.grad(losses, (leaf, entropy), allow_unused=True)
    return Found(float(sum(losses)), gradient, experience.advantages * draw.mask, entropy=of_entropy)


def _critic(draw: Draw, args: Any, experience: Experience, found: Found, updates: int) -> Found:
    values = draw.values.clone().requires_grad_()
    losses: list[Tensor] = []
    for part in draw.parts(updates):
        model = MagicMock(return_value=(values[part], None))
        trainer = ppo_critic.CriticPPOTrainer(
            _strategy(args, losses), model, None, MagicMock(), value_clip=args.critic.value_clip
        )
        trainer.training_step(_rows(experience, part), 0)
    gradient = torch.autograd.grad(losses, values)[0]
    return replace(found, value_loss=float(sum(losses)), values=gradient)


def _rows(experience: Experience, part: slice) -> Experience:
    """One train batch."""
    whole = {name: value for name, value in vars(experience).items() if name != "info"}
    rows = {name: value[part] if isinstance(value, Tensor) else value for name, value in whole.items()}
    return Experience(**rows, info={name: value[part] for name, value in experience.info.items()})
