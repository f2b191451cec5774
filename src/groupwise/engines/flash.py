"""The flash attention that torch carries (Dao, arXiv 2307.08691), over stretches of one cache.

``torch.nn.attention.varlen`` is its public face, but takes lengths apart from offsets only from torch 2.12 or 2.13 on;
the operation below it takes them in all releases from 2.11 to 2.13. Assumed of it, not promised by torch, and therefore
compared with plain torch at opening (``paths.py``): fewer heads of keys than of queries; log-sum-exps ``[H, tokens]``;
and with ``seqused_k`` the "cumulative" key lengths are only offsets, in any order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from groupwise.engines.kv_cache import KVSpans, View
from groupwise.networks import Blueprint


def available() -> str:
    """Says why flash attention cannot be used; empty: it is, as far as the operation's own signature tells."""
    known = getattr(torch.ops.aten, "_flash_attention_forward", None)
    if known is None or "seqused_k" not in {argument.name for argument in known.default._schema.arguments}:
        return "this torch's flash attention takes no lengths of keys"
    return ""


class Flash:
    """This attention does as ``kv_cache.TorchAttention``; windows and caps are not in it."""

    name, static, most_lanes = "flash attention", True, 16

    def __init__(self, parts: Blueprint) -> None:
        self.scale = parts.attention_scale

    def __call__(self, layer: int, q: Tensor, keys: Tensor, values: Tensor, view: View) -> Tensor:
        a, log_a = self._over(q, keys, values, view.prompts)
        b, log_b = self._over(q, keys, values, view.own)
        return torch.lerp(b.float(), a.float(), torch.sigmoid(log_a - log_b).T[..., None]).to(q.dtype)

    def _over(self, q: Tensor, keys: Tensor, values: Tensor, seen: KVSpans) -> tuple[Tensor, Tensor]:
        found = torch.ops.aten._flash_attention_forward(
            q, keys, values, seen.bounds, seen.starts, min(seen.widest, self.most_lanes), seen.longest, 0.0, False,
            False, scale=self.scale, seqused_k=seen.lengths,
        )  # fmt: skip
        return found[0], found[1]


def whole_prompts(
    q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, longest: int, scale: float, window: int = 0
) -> Tensor:
    """Returns ``[N, H, D]`` attention of sequences side by side, each token seeing those before it; ``bounds`` ``[S +
    1]`` int32."""
    window = window if 0 < window < longest else 0
    return torch.ops.aten._flash_attention_forward(
        q, k, v, bounds, bounds, longest, longest, 0.0, not window, False, scale=scale,
        window_size_left=window - 1 if window else None, window_size_right=0 if window else None,
    )[0]  # fmt: skip
