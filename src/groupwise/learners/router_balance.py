"""This module adds the routers' auxiliary loss, which spreads tokens over experts, where a model's config asks for it
(Switch Transformer, arXiv 2101.03961, equations 4 to 6)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from groupwise.errors import UserError
from groupwise.learners.micro_batch import MicroBatch
from groupwise.learners.placement import ONE_PROCESS, Placement
from groupwise.networks.packing import Packing
from groupwise.types import Rollout

METRIC = "router_aux_loss"


class RouterBalance:
    """This listens to the routers of a model while it goes forward, and computes transformers' own loss of what they
    say: the tokens of a micro-batch that its outputs depend on, those of a shared prompt as often as it occurs."""

    def __init__(self, coefficient: float, chosen: int, routers: list[nn.Module], at: int, loss: Callable[..., Any]):
        self.coefficient, self.chosen, self.routers, self.at, self.loss = coefficient, chosen, routers, at, loss
        self._heard: Tensor | None = None
        self._sums = [0.0, 0.0]

    @contextmanager
    def hearing(self, micro_batch: MicroBatch, packed: bool) -> Iterator[None]:
        """Hears one forward pass with gradient. ``packed``: its tokens are those of the packing."""
        logits: list[Tensor] = []
        hooks = [
            router.register_forward_hook(lambda _, given, said: logits.append(said[self.at])) for router in self.routers
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        weights = packed_weights(micro_batch.packing) if packed else padded_weights(micro_batch)
        scores = tuple(each.reshape(-1, each.shape[-1]) for each in logits)
        self._heard = self.loss(scores, scores[0].shape[-1], self.chosen, weights.to(scores[0].device))

    def taken(self, share: float, count: float) -> Tensor | None:
        """Returns what is to be added to a loss that a step divides by ``count``, of the pass that was heard last;
        ``share``: of the batch's tokens that it had. None where no parameter learns from it."""
        heard, self._heard = self._heard, None
        if heard is None or not count:
            return None
        self._sums = [self._sums[0] + share * float(heard.detach()), self._sums[1] + share]
        return heard * (self.coefficient * share * count) if heard.requires_grad else None

    def sums(self) -> Tensor:
        """Returns the loss times its share and the shares, summed since this was last asked."""
        found, self._sums = torch.tensor(self._sums), [0.0, 0.0]
        return found


def packed_weights(packing: Packing) -> Tensor:
    """Returns ``[1, N]`` how many sequences each packed token stands in."""
    weights = torch.ones(len(packing.tokens))
    for start, length, first, end in packing.prompts.tolist():
        weights[start : start + length] = end - first
    return weights[None]


def padded_weights(micro_batch: MicroBatch) -> Tensor:
    """Returns ``[S, P + T]``: 1 where a token is in the packing, too."""
    places = torch.arange(micro_batch.ids.shape[1])
    return (places < torch.tensor(micro_batch.packing.lengths)[:, None]).float()


def balance_of(
    model: Any, note: Callable[[str], None] = lambda text: None, placement: Placement = ONE_PROCESS
) -> RouterBalance | None:
    """Finds the routers of a model whose config says ``output_router_logits``; None: it does not. ``note`` hears where
    the loss can't be had.

    Raises UserError where several processes compute a micro-batch together: each sees a part of its tokens, and the
    loss is not the sum over parts.
    """
    settings = model.config.get_text_config().to_dict()
    coefficient = settings.get("router_aux_loss_coef") or 0.0
    if not settings.get("output_router_logits") or not coefficient:
        return None
    loss = vars(sys.modules[type(model).__module__]).get("load_balancing_loss_func")
    recorder: Any = (getattr(model.base_model, "_can_record_outputs", None) or {}).get("router_logits")
    routers = [module for module in model.modules() if recorder and isinstance(module, recorder.target_class)]
    if loss is None or not routers:
        note(
            f"learner: config.json asks for the routers' auxiliary loss (output_router_logits), and transformers has "
            f"none for {settings.get('model_type')}: it is left out"
        )
        return None
    if placement.side_by_side < placement.count:
        raise UserError(
            "config.json asks for the routers' auxiliary loss (output_router_logits), which needs all tokens of a "
            "micro-batch in one process; expected FSDP(context=1), or output_router_logits false in config.json"
        )
    return RouterBalance(coefficient, settings["num_experts_per_tok"], routers, recorder.index, loss)


def loss_of(
    balance: RouterBalance | None, rollouts: Sequence[Rollout], rows: Sequence[int], count: float
) -> Tensor | None:
    """Returns what ``taken`` does, of the pass over some rows of a batch; None where there is no balance."""
    if balance is None:
        return None
    lengths = [sum(len(prompt) + len(tokens) for prompt, tokens in rollout.sequences) for rollout in rollouts]
    return balance.taken(sum(lengths[row] for row in rows) / max(1, sum(lengths)), count)


def balance_metric(balance: RouterBalance | None, total: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Returns the mean of the loss since this was last asked, over the batches of all processes, which ``total`` adds
    up."""
    if balance is None:
        return {}
    loss, share = total(balance.sums()).tolist()
    return {METRIC: loss / share} if share else {}
