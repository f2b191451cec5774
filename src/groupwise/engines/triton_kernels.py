"""The small steps of decoding between matrix products, one launch each. Imports Triton, which torch for CUDA brings.

Every kernel computes in float32 and rounds once, when it stores. ``triton_decoder.py`` says what they make together.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def add_norm(x, added, weight, y, width, eps, offset, ADDS: tl.constexpr, BLOCK: tl.constexpr):
    """Computes x += added and then y = RMSNorm(x) · (offset + weight). A program a row."""
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
def read(pointer, real):
    """Returns numbers from memory as float32; 0 where ``real`` is false."""
    return tl.load(pointer, mask=real, other=0.0).to(tl.float32)


@triton.jit
def put(pointer, half, first, second, real):
    """Stores the two halves of a head where ``real`` is true, rounded to what the memory holds."""
    tl.store(pointer, first.to(pointer.dtype.element_ty), mask=real)
    tl.store(pointer + half, second.to(pointer.dtype.element_ty), mask=real)


@triton.jit
def apply_rope(
    raw, q, keys, values, cos, sin, positions, write, q_weight, k_weight, eps, offset,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, NORMED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Takes rows of q, k and v side by side → normed and turned q; k, likewise, and v into the cache. A program a
    head."""
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    half: tl.constexpr = DIM // 2
    at = tl.arange(0, BLOCK)
    real = at < half
    source = raw + (row * (HEADS + 2 * KV_HEADS) + head) * DIM + at
    first, second = read(source, real), read(source + half, real)
    if head < HEADS + KV_HEADS:
        if NORMED:
            inverse = tl.rsqrt((tl.sum(first * first) + tl.sum(second * second)) / DIM + eps)
            of_q, of_k = real & (head < HEADS), real & (head >= HEADS)
            first *= inverse * (read(q_weight + at, of_q) + read(k_weight + at, of_k) + offset)
            second *= inverse * (read(q_weight + half + at, of_q) + read(k_weight + half + at, of_k) + offset)
        angle = tl.load(positions + row) * DIM + at
        turned = first * read(cos + angle, real) - second * read(sin + angle, real)
        second = second * read(cos + half + angle, real) + first * read(sin + half + angle, real)
        first = turned
    place = tl.load(write + row) * KV_HEADS
    if head < HEADS:
        put(q + (row * HEADS + head) * DIM + at, half, first, second, real)
    elif head < HEADS + KV_HEADS:
        put(keys + (place + head - HEADS) * DIM + at, half, first, second, real)
    else:
        put(values + (place + head - HEADS - KV_HEADS) * DIM + at, half, first, second, real)


@triton.jit
def look(query, k, scale, cap, seen, peak, CAPPED: tl.constexpr):
    """Returns the weights of keys, the peak they are scaled by, and what that makes of earlier ones."""
    scores = tl.dot(query, k, input_precision="ieee") * scale
    if CAPPED:
        scores = cap * (2.0 * tl.sigmoid(2.0 * scores / cap) - 1.0)  # tanh
    scores = tl.where(seen, scores, float("-inf"))
    higher = tl.maximum(peak, tl.max(scores, 1))
    return tl.exp(scores - higher[:, None]), higher, tl.exp(peak - higher)


@triton.jit
def attend(
    q, keys, values, bounds, starts, lengths, relative, out, normalisers,
    scale, cap, window, piece0, pieces, all_pieces,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, GROUP: tl.constexpr, LANES: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, BLOCK: tl.constexpr, CAPPED: tl.constexpr, WINDOWED: tl.constexpr,
):  # fmt: skip
    """Computes what each of a tile's lanes sees of one piece of its span: an average of values, the log of its weights'
    sum. A program for a tile, a key head and a piece. GROUP: query heads of a key head, rounded up to a power of
    two."""
    tile, kv, piece = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    first = tl.load(bounds + tile)
    count = tl.minimum(tl.load(bounds + tile + 1) - first, LANES)
    if count > 0:
        m, d, n = tl.arange(0, ROWS), tl.arange(0, BLOCK), tl.arange(0, COLUMNS)
        lane = (first + m // GROUP).to(tl.int64)
        real = (m // GROUP < count) & (m % GROUP < HEADS // KV_HEADS)
        head = lane * HEADS + kv * (HEADS // KV_HEADS) + m % GROUP
        query = tl.load(q + head[:, None] * DIM + d, mask=real[:, None] & (d < DIM), other=0.0)
        start, length = tl.load(starts + tile).to(tl.int64), tl.load(lengths + tile)
        share = tl.cdiv(tl.cdiv(length, pieces), COLUMNS) * COLUMNS
        end = tl.minimum(piece * share + share, length)
        oldest = tl.load(relative + lane, mask=real, other=0) - window  # the last that is out of a window
        peak, total = tl.full([ROWS], -1e30, tl.float32), tl.zeros([ROWS], tl.float32)
        mixed = tl.zeros([ROWS, BLOCK], tl.float32)
        for at in range(piece * share, end, COLUMNS):
            column = at + n
            cell = ((start + column) * KV_HEADS + kv) * DIM
            there = column < end
            k = tl.load(keys + cell[None, :] + d[:, None], mask=there[None, :] & (d < DIM)[:, None], other=0.0)
            v = tl.load(values + cell[:, None] + d[None, :], mask=there[:, None] & (d < DIM)[None, :], other=0.0)
            seen = there[None, :] & real[:, None]
            if WINDOWED:
                seen = seen & (column[None, :] > oldest[:, None])
            weights, peak, fade = look(query, k, scale, cap, seen, peak, CAPPED)
            mixed = mixed * fade[:, None] + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
            total = total * fade + tl.sum(weights, 1)
        spot = head * all_pieces + piece0 + piece
        mixed = mixed / tl.where(total > 0, total, 1.0)[:, None]
        tl.store(out + spot[:, None] * DIM + d, mixed, mask=real[:, None] & (d < DIM))
        tl.store(normalisers + spot, tl.where(total > 0, peak + tl.log(total), float("-inf")), mask=real)


@triton.jit
def merge(out, normalisers, y, pieces, DIM: tl.constexpr, PIECES: tl.constexpr, BLOCK: tl.constexpr):
    """Computes one average of the pieces' averages, each by its weights' sum. A program a lane's head."""
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
    """Computes y = activation(first half of x) · second half of x. A program a block of a row."""
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
    """Computes of each chunk of a row of logits · heat: its largest, and the sum of exp(· - largest). A program a
    chunk."""
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
    """Finds the first token whose cumulative probability exceeds the row's uniform: its chunk first, then itself in
    there. A program a row."""
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
