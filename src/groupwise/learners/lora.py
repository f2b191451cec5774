"""This module puts low-rank adapters by peft beside frozen weights, and keeps a model for sampling that says what the
learner says."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from groupwise.errors import UserError
from groupwise.learners.adapted_weights import adapted_weights
from groupwise.learners.logprobs import LanguageModel, States
from groupwise.learners.lora_dropout import input_masks, mask_gradients, without_inputs
from groupwise.learners.lora_loss import ADAPTER
from groupwise.learners.lora_targets import Targets, last_names
from groupwise.learners.merged_weights import MergedWeights
from groupwise.learners.micro_batch import MicroBatch
from groupwise.learners.options import Lora
from groupwise.learners.whole_modules import add_to_file, take_from, whole_modules


class Adapters:
    """Adapters are trained beside frozen weights. ``trained``: the model with an adapter on each target, which are its
    only parameters with gradient.

    ``model`` stays a plain transformers model: it shares every other parameter with ``trained``, and ``merge`` writes
    W + scale · B A where ``trained`` has W. Where W has fewer digits than the adapters (``beside``), that sum would
    round away what they add: ``model`` shares W too, and ``sampled`` is ``trained``. Adapters begin with B = 0.
    ``note`` hears where they are.
    """

    def __init__(self, model: Any, lora: Lora, note: Callable[[str], None] = lambda text: None) -> None:
        try:
            from peft import LoraConfig, get_peft_model
        except ImportError as error:
            raise UserError("lora.rank > 0 needs peft; expected it installed: pip install 'groupwise[lora]'") from error
        known = {id(parameter): parameter for parameter in model.parameters()}
        frozen = sum(parameter.numel() for parameter in known.values())
        self.model, self.lora = model, lora
        twin = copy.deepcopy(model, known)
        targets = Targets.of(model, lora.targets)
        alpha: Any = lora.alpha  # peft's type is int; it divides by rank
        options = LoraConfig(
            r=lora.rank,
            lora_alpha=alpha,
            target_modules=targets.named_briefly(),
            target_parameters=targets.experts_briefly() or None,
            use_rslora=lora.rslora,
            fan_in_fan_out=targets.transposed,
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self._peft: Any = _with_adapters(get_peft_model, twin, options)
        self.trained: Any = self._peft.get_base_model().eval()
        model.requires_grad_(False)
        self._weights = adapted_weights(self.trained)
        self.beside = any(weight.base.dtype.itemsize < 4 for weight in self._weights)
        self._merged = MergedWeights(model, [] if self.beside else self._weights)
        self._whole = whole_modules(model, lora.modules_to_save, targets.names)
        for name in self._whole:
            self.trained.get_submodule(name).requires_grad_()
        trained = sum(parameter.numel() for parameter in self.parameters())
        note(
            f"lora: rank {lora.rank} on {len(targets.names)} layers ({', '.join(last_names(targets.names))}): "
            f"{trained:,} parameters are trained beside {frozen:,} frozen ones{self._besides(targets)}"
        )

    def _besides(self, targets: Targets) -> str:
        whole = f", {', '.join(last_names(self._whole))} whole among them" if self._whole else ""
        drops = "; dropout: what learns is not what sampled, and ratios begin beside 1" if self.lora.dropout else ""
        return f"{whole}{targets.experts_in_words()}{targets.excluded_in_words()}{drops}"

    def parameters(self) -> list[nn.Parameter]:
        """Returns the parameters that are trained."""
        return [parameter for parameter in self.trained.parameters() if parameter.requires_grad]

    @property
    def sampled(self) -> Any:
        """The model that gives the learner's own log-probabilities to whoever samples from it."""
        return self.trained if self.beside else self.model

    def merge(self) -> None:
        """Brings ``model`` up to date."""
        self._merged.fill()

    def release(self) -> None:
        """Gives back the memory of the weights that ``model`` has for itself, until ``merge``: nobody samples while the
        learner learns."""
        self._merged.release()

    def merged(self) -> dict[str, Tensor]:
        """Yields, by their names in ``model``, the weights that have adapters, with these in them, in float32 at
        least."""
        return {weight.name: weight.merged()[0].cpu() for weight in self._weights}

    @torch.no_grad()
    def lost(self) -> float:
        """The norm of what rounding takes from ``merged``, as a share of the norm of what the adapters add."""
        taken = added = 0.0
        for weight in self._weights:
            merged, base, delta = (tensor.double() for tensor in weight.merged())
            taken, added = taken + float((merged - base - delta).square().sum()), added + float(delta.square().sum())
        return (taken / added) ** 0.5 if added else 0.0

    def loss_in_words(self) -> str:
        """States ``lost`` for a log."""
        dtype = str(next(iter(self.merged().values())).dtype).removeprefix("torch.")
        return f"adapters are in the saved model's {dtype} weights; rounding took {self.lost():.2%} of what they add"

    def save(self, directory: Path) -> None:
        """Saves them as ``PeftModel.from_pretrained`` loads them onto the model that training began with."""
        self._peft.save_pretrained(str(directory / ADAPTER), save_embedding_layers=False)
        (directory / ADAPTER / "README.md").unlink(missing_ok=True)  # peft's empty form; the model has a card
        path = directory / ADAPTER / "adapter_config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        for name, value in config.items():  # peft keeps names in sets, which every process orders otherwise
            if isinstance(value, list):
                config[name] = sorted(value, key=str)
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        if self._whole:
            add_to_file(directory / ADAPTER, self.trained, self._whole)

    @torch.no_grad()
    def load(self, directory: Path) -> None:
        """The inverse of ``save``, on the weights that training began with."""
        from peft.utils import load_peft_weights, set_peft_model_state_dict

        tensors = load_peft_weights(str(directory / ADAPTER), device="cpu")
        take_from(tensors, self.trained, self._whole)
        set_peft_model_state_dict(self._peft, tensors)
        self.merge()

    def saved_bytes(self) -> int:
        """Returns the size of the merged model on the disk, and of the adapters beside it."""
        weights = dict(self.model.named_parameters())
        weights |= {weight.name: weight.base for weight in self._weights}
        return sum(weight.numel() * max(weight.itemsize, 4) for weight in (*weights.values(), *self.parameters()))

    def values(self) -> list[Tensor]:
        """Returns a copy of the values."""
        return [parameter.detach().clone() for parameter in self.parameters()]

    def state(self) -> dict[str, Any]:
        """Returns the adapters, and the frozen weights under them, which a saved model no longer has by themselves."""
        bases = [weight.base.detach() for weight in self._weights]
        return {"adapters": self.values(), "bases": bases, "base_model": self.base_model}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Any]) -> None:
        """Takes up what ``state`` gave."""
        for parameter, saved in zip(self.parameters(), state["adapters"], strict=True):
            parameter.copy_(saved)
        for weight, saved in zip(self._weights, state["bases"], strict=True):
            weight.base.copy_(saved)
        self.base_model = state.get("base_model", self.base_model)
        self.merge()

    @property
    def base_model(self) -> str:
        """The directory or hub name of the frozen weights, which a saved adapter names; no checkpoint of a stage."""
        return str(self._peft.peft_config["default"].base_model_name_or_path)

    @base_model.setter
    def base_model(self, name: str) -> None:
        """Names the model that the adapters belong to, in what is saved."""
        self._peft.peft_config["default"].base_model_name_or_path = name
        self.trained.config._name_or_path = name

    def head_at(self, values: list[Tensor]) -> nn.Module | None:
        """The output head with other values in its adapter's place, or its own; None where it does not learn."""
        head = self.trained.get_output_embeddings()
        learns = any(parameter.requires_grad for parameter in head.parameters())
        return PastHead(self, head, values) if learns else None

    @contextmanager
    def dropping(self, update: int) -> Iterator[None]:
        """Lets adapters do without the inputs that an update drops; whatever goes forward in here goes backward in
        here."""
        if not self.lora.dropout:
            yield
            return
        matrices = self._inward()
        with without_inputs(matrices, input_masks(matrices, self.lora.dropout, update)):
            yield

    def end_update(self, update: int) -> None:
        """Leaves in the gradients what the inputs that the update kept have learned."""
        if self.lora.dropout:
            matrices = self._inward()
            mask_gradients(matrices, input_masks(matrices, self.lora.dropout, update))

    def _inward(self) -> list[nn.Parameter]:
        """Returns the matrix A of every adapter, ``[rank, inputs]`` each."""
        return [weight.layer.lora_A["default"].weight for weight in self._weights]

    @contextmanager
    def at(self, values: list[Tensor]) -> Iterator[None]:
        """Puts other values in the adapters' place; a graph that was made before stays whole."""
        parameters = self.parameters()
        own = [parameter.data for parameter in parameters]
        for parameter, other in zip(parameters, values, strict=True):
            parameter.data = other
        try:
            yield
        finally:
            for parameter, other in zip(parameters, own, strict=True):
                parameter.data = other


class PastHead(nn.Module):
    """This head makes logits of hidden states by the output head as its adapter once was, whenever they are asked
    for."""

    def __init__(self, adapters: Adapters, head: Any, values: list[Tensor]) -> None:
        super().__init__()
        self.out_features = head.out_features
        self._now = lambda hidden: _with(
            adapters, values, head, hidden
        )  # no submodule: its parameters are the policy's

    def forward(self, hidden: Tensor) -> Tensor:
        """Returns logits of the hidden states with the adapters as they were."""
        return self._now(hidden)


def _with(adapters: Adapters, values: list[Tensor], head: Any, hidden: Tensor) -> Tensor:
    with adapters.at(values):
        return head(hidden)


def _with_adapters(get_peft_model: Callable[..., Any], model: Any, options: Any) -> Any:
    """Returns peft's model. Raises UserError where peft refuses a target, or takes one for what is no linear layer."""
    names, asked = ", ".join(sorted(options.target_modules)), bool(options.target_parameters)
    try:
        with warnings.catch_warnings():
            # peft asks transformers for a property under its old name, and gets the right value.
            warnings.filterwarnings("ignore", r"`is_gradient_checkpointing` is deprecated", FutureWarning)
            made = get_peft_model(model, options)
    except ValueError as error:
        raise UserError(f"lora.targets {names}: peft refuses: {' '.join(str(error).split())}") from error
    layers = [module for module in made.modules() if hasattr(module, "get_delta_weight")]
    other = {type(layer.get_base_layer()).__name__ for layer in layers if not hasattr(layer.get_base_layer(), "weight")}
    if other and not asked:
        raise UserError(
            f"lora.targets {names}: peft takes some of them for the experts in {', '.join(sorted(other))}, which can't "
            "have adapters here; expected all-linear or the names of attention's layers"
        )
    return made


class PastPolicy:
    """The policy as its adapters once were, those on its head too: a reference without a copy of the model."""

    def __init__(self, adapters: Adapters, policy: LanguageModel, values: list[Tensor]) -> None:
        self.adapters, self.policy, self.values = adapters, policy, values

    def __call__(self, micro_batch: MicroBatch) -> States:
        with self.adapters.at(self.values):
            states = self.policy(micro_batch)
        head = self.adapters.head_at(
            self.values
        )  # which is applied later, when the adapters are the present ones again
        return states if head is None or not self.policy.plain_head else states._replace(head=head)


def dropping(adapters: Adapters | None, update: int) -> AbstractContextManager[None]:
    """Drops inputs of adapters where there are any: where a gradient is made, and nowhere else."""
    return nullcontext() if adapters is None else adapters.dropping(update)
