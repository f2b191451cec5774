"""The small steps of decoding between matrix products, one launch each. Imports Triton, which torch for CUDA brings.

Every kernel computes in float32 and rounds once, when it stores. ``fused.py`` says what they make together.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def add_norm(x, added, weight, y, width, eps, offset, ADDS: tl.constexpr, BLOCK: tl.constexpr):
    """x += added; y = RMSNorm(x) · (offset + weight). A program a row."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    real = at < width
    value = tl.load(x + row * width + at, mask=real, other=0.0).to(tl.float32)
    if ADDS:
        value += tl.load(added + row * width + at, mask=real, other=0.0).to(tl.float32)
        rounded = value.to(x.dtype.element_ty)
        tl.store(x + row * width + at, rounded, mask=real)
        value = rounded.to(tl.float32)
    scale = tl.load(weight + at, mask=real, other=0.0).to(tl.float32) + offset
    normed = value * tl.rsqrt(tl.sum(value * value) / width + eps) * scale
    tl.store(y + row * width + at, normed.to(y.dtype.element_ty), mask=real)


@triton.jit
def turn(
    raw, q, keys, values, cos, sin, positions, write, q_weight, k_weight, eps, offset,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, NORMED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Rows of q, k and v side by side → normed and turned q; k, likewise, and v into the cache. A program a head."""
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    half: tl.constexpr = DIM // 2
    at = tl.arange(0, BLOCK)
    real = at < half
    source = raw + (row * (HEADS + 2 * KV_HEADS) + head) * DIM
    first = tl.load(source + at, mask=real, other=0.0).to(tl.float32)
    second = tl.load(source + half + at, mask=real, other=0.0).to(tl.float32)
    place = tl.load(write + row) * KV_HEADS
    if head < HEADS + KV_HEADS:
        if NORMED:
            inverse = tl.rsqrt((tl.sum(first * first) + tl.sum(second * second)) / DIM + eps)
            mine = head < HEADS
            of_q, of_k = real & mine, real & (head >= HEADS)
            scale = tl.load(q_weight + at, mask=of_q, other=0.0).to(tl.float32)
            scale += tl.load(k_weight + at, mask=of_k, other=0.0).to(tl.float32)
            first = first * inverse * (scale + offset)
            scale = tl.load(q_weight + half + at, mask=of_q, other=0.0).to(tl.float32)
            scale += tl.load(k_weight + half + at, mask=of_k, other=0.0).to(tl.float32)
            second = second * inverse * (scale + offset)
        angle = tl.load(positions + row) * DIM
        cos_first = tl.load(cos + angle + at, mask=real, other=0.0).to(tl.float32)
        sin_first = tl.load(sin + angle + at, mask=real, other=0.0).to(tl.float32)
        cos_second = tl.load(cos + angle + half + at, mask=real, other=0.0).to(tl.float32)
        sin_second = tl.load(sin + angle + half + at, mask=real, other=0.0).to(tl.float32)
        turned = first * cos_first - second * sin_first
        second = second * cos_second + first * sin_second
        first = turned
    if head < HEADS:
        target = q + (row * HEADS + head) * DIM
        tl.store(target + at, first.to(q.dtype.element_ty), mask=real)
        tl.store(target + half + at, second.to(q.dtype.element_ty), mask=real)
    elif head < HEADS + KV_HEADS:
        target = keys + (place + head - HEADS) * DIM
        tl.store(target + at, first.to(q.dtype.element_ty), mask=real)
        tl.store(target + half + at, second.to(q.dtype.element_ty), mask=real)
    else:
        target = values + (place + head - HEADS - KV_HEADS) * DIM
        tl.store(target + at, first.to(q.dtype.element_ty), mask=real)
        tl.store(target + half + at, second.to(q.dtype.element_ty), mask=real)


@triton.jit
def attend(
    q, keys, values, bounds, starts, lengths, relative, out, normalisers,
    scale, cap, window, piece0, pieces, all_pieces,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, GROUP: tl.constexpr, LANES: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, BLOCK: tl.constexpr, CAPPED: tl.constexpr, WINDOWED: tl.constexpr,
):  # fmt: skip
    """What each of a tile's lanes sees of one piece of its stretch: an average of values, the log of its weights' sum.

    A program for a tile, a key head and a piece. GROUP: query heads of a key head, rounded up to a power of two.
    """
    tile, kv, piece = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    first = tl.load(bounds + tile)
    count = tl.minimum(tl.load(bounds + tile + 1) - first, LANES)
    if count > 0:
        m, d, n = tl.arange(0, ROWS), tl.arange(0, BLOCK), tl.arange(0, COLUMNS)
        member = m % GROUP
        lane = (first + m // GROUP).to(tl.int64)
        real = (m // GROUP < count) & (member < HEADS // KV_HEADS)
        head = lane * HEADS + kv * (HEADS // KV_HEADS) + member
        whole = d < DIM
        query = tl.load(q + head[:, None] * DIM + d, mask=real[:, None] & whole, other=0.0)
        stand = tl.load(relative + lane, mask=real, other=0)
        start = tl.load(starts + tile).to(tl.int64)
        length = tl.load(lengths + tile)
        share = tl.cdiv(tl.cdiv(length, pieces), COLUMNS) * COLUMNS
        begin = piece * share
        end = tl.minimum(begin + share, length)
        peak = tl.full([ROWS], -1e30, tl.float32)
        total = tl.zeros([ROWS], tl.float32)
        mixed = tl.zeros([ROWS, BLOCK], tl.float32)
        for at in range(begin, end, COLUMNS):
            column = at + n
            cell = ((start + column) * KV_HEADS + kv) * DIM
            there = column < end
            k = tl.load(keys + cell[None, :] + d[:, None], mask=there[None, :] & whole[:, None], other=0.0)
            scores = tl.dot(query, k, input_precision="ieee") * scale
            if CAPPED:
                scores = cap * (2.0 * tl.sigmoid(2.0 * scores / cap) - 1.0)
            seen = there[None, :] & real[:, None]
            if WINDOWED:
                seen = seen & (column[None, :] > stand[:, None] - window)
            scores = tl.where(seen, scores, float("-inf"))
            higher = tl.maximum(peak, tl.max(scores, 1))
            weights = tl.exp(scores - higher[:, None])
            fade = tl.exp(peak - higher)
            v = tl.load(values + cell[:, None] + d[None, :], mask=there[:, None] & whole[None, :], other=0.0)
            mixed = mixed * fade[:, None] + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
            total = total * fade + tl.sum(weights, 1)
            peak = higher
        spot = head * all_pieces + piece0 + piece
        some = total > 0
        mixed = mixed / tl.where(some, total, 1.0)[:, None]
        tl.store(out + spot[:, None] * DIM + d[None, :], mixed, mask=real[:, None] & whole[None, :])
        tl.store(normalisers + spot, tl.where(some, peak + tl.log(total), float("-inf")), mask=real)


@triton.jit
def merge(out, normalisers, y, pieces, DIM: tl.constexpr, PIECES: tl.constexpr, BLOCK: tl.constexpr):
    """One average of the pieces' averages. A program a lane's head."""
    head = tl.program_id(0).to(tl.int64)
    piece, d = tl.arange(0, PIECES), tl.arange(0, BLOCK)
    there = piece < pieces
    logs = tl.load(normalisers + head * pieces + piece, mask=there, other=float("-inf"))
    weights = tl.exp(logs - tl.max(logs))
    cells = (head * pieces + piece)[:, None] * DIM + d[None, :]
    parts = tl.load(out + cells, mask=(weights > 0)[:, None] & (d < DIM)[None, :], other=0.0)
    mixed = tl.sum(parts * weights[:, None], 0) / tl.sum(weights)
    tl.store(y + head * DIM + d, mixed.to(y.dtype.element_ty), mask=d < DIM)


@triton.jit
def gate(x, y, width, SILU: tl.constexpr, BLOCK: tl.constexpr):
    """y = activation(first half of x) · second half of x. A program a block of a row."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = at < width
    a = tl.load(x + row * 2 * width + at, mask=real, other=0.0).to(tl.float32)
    b = tl.load(x + row * 2 * width + width + at, mask=real, other=0.0).to(tl.float32)
    # 1 + tanh(z) = 2 · sigmoid(2z)
    active = a * tl.sigmoid(a) if SILU else a * tl.sigmoid(1.5957691216057308 * (a + 0.044715 * a * a * a))
    tl.store(y + row * width + at, (active * b).to(y.dtype.element_ty), mask=real)


@triton.jit
def masses(logits, peaks, sums, vocabulary, chunks, heat, BLOCK: tl.constexpr):
    """Of each chunk of a row of logits · heat: its largest, and the sum of exp(· - largest). A program a chunk."""
    row, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1)
    at = chunk * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(logits + row * vocabulary + at, mask=at < vocabulary, other=float("-inf")).to(tl.float32) * heat
    peak = tl.max(x)
    tl.store(peaks + row * chunks + chunk, peak)
    tl.store(sums + row * chunks + chunk, tl.sum(tl.exp(x - peak).to(tl.float64)))


@triton.jit
def choose(
    logits, peaks, sums, uniforms, tokens, logprobs, vocabulary, chunks, heat, CHUNKS: tl.constexpr, BLOCK: tl.constexpr
):
    """The first token whose cumulative probability exceeds the row's uniform: its chunk first, then itself in there."""
    row = tl.program_id(0).to(tl.int64)
    chunk = tl.arange(0, CHUNKS)
    there = chunk < chunks
    tops = tl.load(peaks + row * chunks + chunk, mask=there, other=float("-inf"))
    top = tl.max(tops)
    mass = tl.load(sums + row * chunks + chunk, mask=there, other=0.0) * tl.exp(tops - top).to(tl.float64)
    total = tl.sum(mass)
    threshold = tl.load(uniforms + row) * total
    upto = tl.cumsum(mass, 0)
    mine = tl.minimum(tl.sum((upto <= threshold).to(tl.int32)), chunks - 1)
    below = tl.sum(tl.where(chunk < mine, mass, 0.0))
    at = mine * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(logits + row * vocabulary + at, mask=at < vocabulary, other=float("-inf")).to(tl.float32) * heat
    p = tl.exp(x - top).to(tl.float64)
    inside = below + tl.cumsum(p, 0)
    # Sums in another order may differ in their last digit: never past the chunk's last token of some probability.
    last = tl.max(tl.where(p > 0, at, 0))
    token = tl.minimum(mine * BLOCK + tl.sum((inside <= threshold).to(tl.int32)), last)
    tl.store(tokens + row, token.to(tl.int64))
    chosen = tl.sum(tl.where(at == token, x, 0.0))
    tl.store(logprobs + row, chosen - top - tl.log(total).to(tl.float32))
