"""Normalisation, attention and position of com.microsoft, against ONNX Runtime's kernels."""

import numpy as np
import pytest

from .one_node import case, check, fed, weight, x

f, i32 = np.float32, np.int32
ids, segments = fed([[1, 2, 0, 4, 3], [0, 1, 2, 3, 3]], i32), fed([[0, 0, 1, 1, 1], [0, 0, 0, 0, 1]], i32)
tables = [x(6, 8), x(7, 8), x(2, 8), weight(8), weight(8, seed=2)]
NORMS = {
    "layer norm": case("LayerNormalization", x(2, 3, 8), x(8), x(8), outputs=(f, f, f), domain="", version=13, epsilon=1e-3),
    "layer norm unbiased": case("LayerNormalization", x(2, 3, 8), weight(8), domain="", version=11, axis=-1),
    "layer norm axis": case("LayerNormalization", x(2, 3, 8), weight(3, 8), weight(3, 8), domain="", version=16, axis=1),
    "rms": case("SimplifiedLayerNormalization", x(2, 3, 8), x(8), domain="", version=17, epsilon=1e-3),
    "rms inverse": case("SimplifiedLayerNormalization", x(2, 3, 8), x(8), domain="", version=21, outputs=(f, f)),
    "skip": case("SkipLayerNormalization", x(2, 3, 8), x(2, 3, 8), x(8), x(8), epsilon=1e-3),
    "skip bias sum": case("SkipLayerNormalization", x(2, 3, 8), x(1, 3, 8), weight(8), None, weight(8), outputs=(f, None, None, f)),
    "skip 2d": case("SkipLayerNormalization", x(2, 3, 8), x(3, 8), weight(8), weight(8), symbolic=True),
    "skip rms": case("SkipSimplifiedLayerNormalization", x(2, 3, 8), x(2, 3, 8), x(8), weight(8), outputs=(f, None, None, f), epsilon=1e-4),
    "embed": case("EmbedLayerNormalization", ids, segments, *tables, outputs=(f, i32)),
    "embed mask": case("EmbedLayerNormalization", ids, segments, *tables, fed([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], i32), outputs=(f, i32, f), epsilon=1e-4),
    "embed one kind": case("EmbedLayerNormalization", ids, None, *tables[:2], None, *tables[3:], outputs=(f, None, f), symbolic=True),
    "embed places": case("EmbedLayerNormalization", ids, None, *tables[:2], None, *tables[3:], None, fed([[4, 3, 2, 1, 0]], i32), outputs=(f, i32)),
}

project, shift = weight(8, 24), weight(24)
ragged = fed([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]], i32)
ATTENTION = {
    "plain": case("Attention", x(2, 5, 8), x(8, 24), x(24), num_heads=2),
    "causal": case("Attention", x(2, 5, 8), project, shift, num_heads=4, scale=0.3, unidirectional=1, symbolic=True),
    "mask": case("Attention", x(2, 5, 8), project, shift, ragged, num_heads=2),
    "mild mask": case("Attention", x(2, 5, 8), project, shift, ragged, num_heads=2, mask_filter_value=-1.5, unidirectional=1),
    "mask 3d": case("Attention", x(1, 3, 8), project, shift, fed([[[1, 1, 0], [0, 1, 1], [1, 0, 1]]], i32), num_heads=2),
    "mask lengths": case("Attention", x(2, 5, 8), project, shift, fed([4, 3], i32), num_heads=2, symbolic=True),
    "mask ends": case("Attention", x(2, 5, 8), project, shift, fed([4, 3, 1, 0], i32), num_heads=2),
    "sizes": case("Attention", x(2, 5, 8), weight(8, 20), weight(20), num_heads=2, qkv_hidden_sizes=[8, 8, 4]),
    "past": case("Attention", x(2, 3, 8), project, shift, None, x(2, 2, 2, 4, 4), outputs=(f, f), num_heads=2, unidirectional=1),
    "bias": case("Attention", x(2, 5, 8), project, shift, None, None, x(1, 2, 5, 5), num_heads=2),
    "mha": case("MultiHeadAttention", x(2, 5, 8), x(2, 4, 8), x(2, 4, 12), num_heads=2),
    "mha bias": case("MultiHeadAttention", x(2, 5, 8), x(2, 4, 8), x(2, 4, 8), x(24), num_heads=2, scale=0.4),
    "mha mask": case("MultiHeadAttention", x(2, 5, 8), x(2, 5, 8), x(2, 5, 8), None, ragged, num_heads=2, unidirectional=1),
    "mha added": case("MultiHeadAttention", x(2, 5, 8), x(2, 5, 8), x(2, 5, 8), None, None, x(1, 1, 5, 5), num_heads=2),
    "mha heads": case("MultiHeadAttention", x(2, 5, 8), x(2, 2, 4, 4), x(2, 2, 4, 4), num_heads=2),
    "mha heads bias": case("MultiHeadAttention", x(2, 5, 8), x(2, 2, 4, 4), x(2, 2, 4, 4), x(24), num_heads=2),
    "mha past": case("MultiHeadAttention", x(2, 3, 8), x(2, 3, 8), x(2, 3, 8), None, None, None, x(2, 2, 2, 4), x(2, 2, 2, 4), outputs=(f, f, f), num_heads=2),
    "mha scores": case("MultiHeadAttention", x(2, 3, 8), x(2, 3, 8), x(2, 3, 8), outputs=(f, None, None, f), num_heads=2),
}


def grouped(*inputs, outputs=(f, None, None), **attributes):
    return case("GroupQueryAttention", *inputs, outputs=outputs, num_heads=4, kv_num_heads=2, **attributes)


angles = weight(9, 8, low=0, high=3)
turns = np.cos(angles), np.sin(angles)
prompt = x(2, 5, 64), x(2, 5, 32), x(2, 5, 32)
nothing, five = (None, None), (fed([4, 4], i32), np.array(5, i32))
cache = x(2, 2, 3, 16), x(2, 2, 3, 16, seed=4)
one = x(2, 1, 64), x(2, 1, 32), x(2, 1, 32)
GROUPED = {
    "prompt": grouped(*prompt, *nothing, *five),
    "shorter": grouped(*prompt, *nothing, fed([4, 2], i32), np.array(5, i32)),
    "packed": grouped(x(2, 5, 128), None, None, *nothing, *five, scale=0.4),
    "softcap": grouped(*prompt, *nothing, *five, softcap=0.5),
    "window": grouped(*prompt, *nothing, *five, local_window_size=2),
    "both ways": grouped(*prompt, *nothing, *five, causal=0),
    "rotary": grouped(*prompt, *nothing, *five, *turns, do_rotary=1),
    "rotary interleaved": grouped(*prompt, *nothing, *five, *turns, do_rotary=1, rotary_interleaved=1),
    "bias": grouped(*prompt, *nothing, *five, None, None, None, x(1, 4, 5, 5)),
    "bias softcap": grouped(*prompt, *nothing, *five, None, None, None, x(2, 1, 5, 5), softcap=0.5),
    "sink": grouped(*prompt, *nothing, *five, None, None, None, None, x(4)),
    "smooth": grouped(*prompt, *nothing, *five, smooth_softmax=1),
    "cache": grouped(*one, *cache, fed([3, 3], i32), np.array(4, i32), *turns, do_rotary=1, outputs=(f, f, f)),
    "cache window": grouped(*one, *cache, fed([3, 3], i32), np.array(4, i32), local_window_size=2, outputs=(f, f, f)),
    "cache in parts": grouped(*one, *cache, fed([3, 1], i32), np.array(4, i32), *turns, do_rotary=1, outputs=(f, f, f)),
}


angles = weight(9, 2, low=0, high=3)
cos, sin = np.cos(angles), np.sin(angles)
at = fed([[0, 1, 2], [4, 3, 8]], np.int64)
ROTARY = {
    "3d": case("RotaryEmbedding", x(2, 3, 8), at, cos, sin),
    "offset": case("RotaryEmbedding", x(2, 3, 8), fed([2], np.int64), cos, sin, symbolic=True),
    "interleaved": case("RotaryEmbedding", x(2, 3, 8), at, cos, sin, interleaved=1),
    "4d": case("RotaryEmbedding", x(2, 2, 3, 4), at, cos, sin),
    "partial": case("RotaryEmbedding", x(2, 3, 12), at, cos, sin, num_heads=2, rotary_embedding_dim=4),
    "partial interleaved": case("RotaryEmbedding", x(2, 3, 12), at, cos, sin, num_heads=2, rotary_embedding_dim=4, interleaved=1),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms(name):
    check(NORMS[name])


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name):
    check(ATTENTION[name])


@pytest.mark.parametrize("name", ROTARY)
def test_rotary(name):
    check(ROTARY[name])


@pytest.mark.parametrize("name", GROUPED)
def test_grouped(name):
    check(GROUPED[name], kept=name.startswith("cache"))
