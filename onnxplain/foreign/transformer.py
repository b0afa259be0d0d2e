"""`com.microsoft`: normalisation, attention and position of transformers."""

from __future__ import annotations

import math

import numpy as np

from ..ops.newer import rms_norm
from ..ops.shapes import cast, counted, dim, in_single, mT
from ..tape import Var, op
from .registry import microsoft, unless

# ---- normalisation ----


@microsoft
def LayerNormalization(x, scale, bias=None, *, axis=-1, epsilon=1e-5, stash_type=1):
    return op.LayerNormalization(x, scale, bias, axis=axis, epsilon=epsilon, stash_type=stash_type, outputs=3)


@microsoft
def SimplifiedLayerNormalization(x, scale, *, axis=-1, epsilon=1e-5, stash_type=1):
    wide = in_single(x)  # squares of halves overflow
    unit, inverse, _ = rms_norm(wide, axis, epsilon)
    return cast(unit * cast(scale, wide), x), inverse


@microsoft
def SkipLayerNormalization(x, skip, gamma, beta=None, bias=None, *, epsilon=1e-12):
    total = _sum(x, skip, bias)
    return *LayerNormalization(total, gamma, beta, epsilon=epsilon), total


@microsoft
def SkipSimplifiedLayerNormalization(x, skip, gamma, bias=None, *, epsilon=1e-12):
    total = _sum(x, skip, bias)
    y, inverse = SimplifiedLayerNormalization(total, gamma, epsilon=epsilon)
    return y, None, inverse, total


@microsoft
def EmbedLayerNormalization(ids, segments, words, positions, segment_table, gamma, beta, mask=None, position_ids=None, *, epsilon=1e-12, mask_index_type=0):
    places = _range(ids, 1) if position_ids is None else position_ids
    total = op.Gather(words, ids) + op.Gather(positions, places)
    if segment_table is not None:
        total = total + op.Gather(segment_table, segments)
    lengths = op.ReduceSum(ids - ids if mask is None else cast(op.Equal(mask, 1), ids), [1], keepdims=0)
    return op.LayerNormalization(total, gamma, beta, epsilon=epsilon), lengths, total


def _sum(x: Var, skip: Var, bias: Var | None) -> Var:
    return x + skip if bias is None else x + skip + bias


# ---- attention ----


@microsoft
def Attention(
    x,
    weights,
    bias=None,
    mask=None,
    past=None,
    attention_bias=None,
    past_length=None,
    *,
    num_heads,
    unidirectional=0,
    qkv_hidden_sizes=None,
    mask_filter_value=-10000.0,
    scale=0.0,
    do_rotary=0,
    past_present_share_buffer=0,
    rotary_embedding_dim=0,
):
    unless(not do_rotary, "it rotates its queries and keys (do_rotary)")
    unless(not past_present_share_buffer, "its cache is changed in place (past_present_share_buffer)")
    projected = x @ weights if bias is None else x @ weights + bias
    sizes = qkv_hidden_sizes or [_number(weights, 1) // 3] * 3
    q, k, v = (heads(part, num_heads) for part in op.Split(projected, sizes, axis=2, outputs=3))
    if past is not None:
        k, v = (op.Concat(op.Gather(past, np.int64(i)), new, axis=2) for i, new in enumerate((k, v)))
    y = _attend(q, k, v, mask, attention_bias, unidirectional, mask_filter_value, scale)[0]
    return y, op.Concat(op.Unsqueeze(k, [0]), op.Unsqueeze(v, [0]), axis=0) if len({*sizes}) == 1 else None


@microsoft
def MultiHeadAttention(
    query,
    key=None,
    value=None,
    bias=None,
    mask=None,
    attention_bias=None,
    past_key=None,
    past_value=None,
    past_length=None,
    cache=None,
    *,
    num_heads,
    unidirectional=0,
    mask_filter_value=-10000.0,
    scale=0.0,
):
    unless(key is not None and value is not None, "its query, key and value are packed into one tensor")
    unless(past_length is None and cache is None, "its cache is changed in place (past_sequence_length, cache_indirection)")
    q, k, v = query, key, value
    if bias is not None:
        width = _number(query, 2)
        if key.rank == 4:  # keys and values that are split into heads already have theirs
            q = query + op.Slice(bias, [0], [width], [0])
        else:
            parts = op.Split(bias, [width, width, _number(value, 2)], axis=0, outputs=3)
            q, k, v = (part + b for part, b in zip((q, k, v), parts))
    q, k, v = (part if part.rank == 4 else heads(part, num_heads) for part in (q, k, v))
    if past_key is not None:
        k, v = op.Concat(past_key, k, axis=2), op.Concat(past_value, v, axis=2)
    y, scores = _attend(q, k, v, mask, attention_bias, unidirectional, mask_filter_value, scale)
    return y, k, v, scores


@microsoft
def GroupQueryAttention(
    query,
    key,
    value,
    past_key,
    past_value,
    last_places,
    total,
    cos=None,
    sin=None,
    position_ids=None,
    attention_bias=None,
    sink=None,
    k_scale=None,
    v_scale=None,
    q_norm=None,
    k_norm=None,
    *,
    num_heads,
    kv_num_heads,
    scale=0.0,
    softcap=0.0,
    causal=1,
    local_window_size=-1,
    do_rotary=0,
    rotary_interleaved=0,
    smooth_softmax=0,
    qk_norm_epsilon=1e-6,
    qk_output=0,
    k_quant_type="NONE",
    v_quant_type="NONE",
    kv_cache_bit_width=0,
    sliding_window_cache=0,
):
    """The caches are read as far as they are filled: what a sample has there comes before its new keys."""
    unless((k_quant_type, v_quant_type) == ("NONE", "NONE"), "its cache is quantised")
    unless(not sliding_window_cache, "its cache forgets (sliding_window_cache)")
    unless(position_ids is None, "it is given position_ids")
    unless(q_norm is None, "it normalises its queries and keys (q_norm_weight)")
    unless(attention_bias is None or past_key is None, "it has both a cache and an attention_bias")
    if key is None:
        width = _number(query, 2) // (num_heads + 2 * kv_num_heads)
        query, key, value = op.Split(query, [width * n for n in (num_heads, kv_num_heads, kv_num_heads)], axis=2, outputs=3)
    q, k, v = heads(query, num_heads), heads(key, kv_num_heads), heads(value, kv_num_heads)
    ends = op.Reshape(cast(last_places, np.dtype(np.int64)), [-1, 1])
    filled = op.Max(ends + 1 - dim(q, 2), 0)
    places = filled + _range(q, 2)
    at = places
    if do_rotary:
        angles = [op.Unsqueeze(op.Gather(table, places), [1]) for table in (cos, sin)]
        q, k = rotated(q, *angles, rotary_interleaved), rotated(k, *angles, rotary_interleaved)
    if past_key is not None:
        old = _range(past_key, 2)
        at = op.Concat(op.Where(old < filled, old, np.int64(1 << 40)), places, axis=1)  # nobody sees what is not filled
        k, v = op.Concat(past_key, k, axis=2), op.Concat(past_value, v, axis=2)
    served = np.repeat(np.arange(kv_num_heads), num_heads // kv_num_heads)
    scores = _scale(q, scale) * (q @ mT(op.Gather(k, served, axis=1)))
    if softcap:
        scores = softcap * op.Tanh(scores / softcap)
    if attention_bias is not None:
        scores = scores + attention_bias
    here, there = op.Unsqueeze(places, [1, 3]), op.Unsqueeze(at, [1, 2])
    shown = there <= op.Unsqueeze(ends, [1, 2])
    if causal:
        shown = shown & (there <= here)
    if local_window_size > 0:
        shown = shown & (here - there < local_window_size)
    scores = op.Where(shown, scores, float(np.finfo(scores.dtype).min))
    if sink is not None or smooth_softmax:
        beside = op.Expand(scores.tape.constant(0.0, scores) if sink is None else op.Reshape(sink, [1, -1, 1, 1]), op.Concat(op.Shape(q, end=3), [1], axis=0))
        shares = op.Slice(op.Softmax(op.Concat(beside, scores, axis=3), axis=-1), [1], [np.iinfo(np.int64).max], [3])
    else:
        shares = op.Softmax(scores, axis=-1)
    return merged(shares @ op.Gather(v, served, axis=1)), None, None, None


def heads(x: Var, n: int) -> Var:
    """[B, S, n·H] as [B, n, S, H]."""
    return op.Transpose(op.Reshape(x, [0, 0, n, -1]), perm=[0, 2, 1, 3])


def merged(x: Var) -> Var:
    """[B, n, S, H] as [B, S, n·H]."""
    return op.Reshape(op.Transpose(x, perm=[0, 2, 1, 3]), [0, 0, -1])


def _attend(q: Var, k: Var, v: Var, mask: Var | None, bias: Var | None, causal: int, hidden: float, scale: float) -> tuple[Var, Var]:
    """softmax(scale · q kᵀ + bias + mask) v with its heads merged, and what the softmax is taken of."""
    scores = _scale(q, scale) * (q @ mT(k))
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = scores + op.Where(_shown(mask, q, k), 0.0, scores.tape.constant(hidden, scores))
    if causal:
        scores = op.Where(_before(q, k), scores, scores.tape.constant(float(np.finfo(scores.dtype).min), scores))
    return merged(op.Softmax(scores, axis=-1) @ v), scores


def _scale(q: Var, given: float) -> float:
    return given or 1 / math.sqrt(_number(q, 3))


def _shown(mask: Var, q: Var, k: Var) -> Var:
    """Which keys a mask shows: [B, T] or [B, S, T] of ones, or the lengths [B], or the ends and then the starts [2·B]."""
    unless(mask.rank < 4, "its mask has four axes")
    if mask.rank > 1:
        return op.Unsqueeze(mask > 0, [1, 2] if mask.rank == 2 else [1])
    rows = op.Reshape(mask, op.Concat([-1], dim(q, 0), axis=0))  # the ends, and the starts if there are any
    ends, starts = op.Slice(rows, [0], [1], [0]), op.ReduceSum(op.Slice(rows, [1], [2], [0]), [0], keepdims=1)
    at = cast(_range(k, 2), mask)
    return (at < op.Reshape(ends, [-1, 1, 1, 1])) & (at >= op.Reshape(starts, [-1, 1, 1, 1]))


def _before(q: Var, k: Var) -> Var:
    """[S, T]: which keys are not later than the query, the last of both being one place."""
    rows = _range(q, 2) + (dim(k, 2) - dim(q, 2))
    return _range(k, 2) <= op.Unsqueeze(rows, [1])


def _range(x: Var, axis: int) -> Var:
    """The places along an axis."""
    return counted(dim(x, axis))


def _number(x: Var, axis: int) -> int:
    """An extent that has to be known."""
    extent = x.shape[axis]
    unless(isinstance(extent, int), f"the extent of axis {axis} of {x.name!r} is not known")
    assert isinstance(extent, int)
    return extent


# ---- position ----


@microsoft
def RotaryEmbedding(x, position_ids, cos, sin, *, interleaved=0, num_heads=0, rotary_embedding_dim=0, scale=1.0, is_packed_batching=0):
    places = position_ids
    if position_ids.rank == 1:  # from where the sequence starts
        places = op.Unsqueeze(cast(_range(x, x.rank - 2), position_ids) + position_ids, [0])
    if x.rank == 4:
        return rotated(x, op.Unsqueeze(op.Gather(cos, places), [1]), op.Unsqueeze(op.Gather(sin, places), [1]), interleaved)
    n = num_heads or _number(x, 2) // (2 * _number(cos, 1))
    split = op.Reshape(x, [0, 0, n, -1])
    turned = rotated(split, op.Unsqueeze(op.Gather(cos, places), [2]), op.Unsqueeze(op.Gather(sin, places), [2]), interleaved)
    return op.Reshape(turned, [0, 0, -1])


def rotated(x: Var, cos: Var, sin: Var, interleaved: int) -> Var:
    """Turn pairs of elements along the last axis by an angle each; what is beyond the angles stays."""
    half, width = _number(cos, cos.rank - 1), _number(x, x.rank - 1)
    turning, rest = (x, None) if width == 2 * half else op.Split(x, [2 * half, width - 2 * half], axis=-1, outputs=2)
    if interleaved:
        pairs = op.Reshape(turning, [*[0] * (x.rank - 1), half, 2])
        a, b = (op.Squeeze(part, [-1]) for part in op.Split(pairs, axis=-1, num_outputs=2, outputs=2))
        turned = op.Reshape(op.Concat(*(op.Unsqueeze(v, [-1]) for v in (a * cos - b * sin, b * cos + a * sin)), axis=-1), [*[0] * (x.rank - 1), 2 * half])
    else:
        a, b = op.Split(turning, axis=-1, num_outputs=2, outputs=2)
        turned = op.Concat(a * cos - b * sin, b * cos + a * sin, axis=-1)
    return turned if rest is None else op.Concat(turned, rest, axis=-1)
