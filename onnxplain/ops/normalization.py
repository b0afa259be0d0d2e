"""Softmax and the normalisation layers."""

from __future__ import annotations

import math

import numpy as np

from ..tape import Var, op
from .newer import SPELLED_OUT
from .registry import batch_norm, normalization, softmax
from .shapes import cast, in_single, over, ratio, reshape_like, shape_of, zeros

# ---- softmax ----


@softmax
def Softmax(g, y, x, *, axis=-1):
    return (y * (g - op.ReduceSum(g * y, [axis], keepdims=1)),)


@softmax
def LogSoftmax(g, y, x, *, axis=-1):
    return (g - op.Exp(y) * op.ReduceSum(g, [axis], keepdims=1),)


# ---- normalisation ----


def _channels(v: Var, x: Var) -> Var:
    """A vector of one number a channel, shaped to broadcast over x."""
    return op.Reshape(v, [1, -1, *[1] * (x.rank - 2)]) if x.rank > 2 else v


@batch_norm(many=True)
def BatchNormalization(g, y, x, scale, bias, mean, var, *, epsilon=1e-5, momentum=0.9, training_mode=0):
    axes = [0, *range(2, x.rank)]
    if training_mode:
        return _batch_statistics(g, y, x, scale, axes, epsilon, momentum)
    g = g[0]
    inverse = 1 / op.Sqrt(var + epsilon)
    slope = scale * inverse

    def per_channel(v):
        return op.ReduceSum(v, axes, keepdims=0)

    def d_scale():
        return per_channel(g * (x - _channels(mean, x))) * inverse

    def d_var():
        return per_channel(g * (x - _channels(mean, x))) * (-0.5) * scale * inverse * inverse * inverse

    return g * _channels(slope, x), d_scale, (lambda: per_channel(g)), (lambda: -slope * per_channel(g)), d_var


def _batch_statistics(gs, ys, x, scale, axes, epsilon, momentum):
    """Training: x is standardised by its own mean and variance, which also move the two running ones."""
    g, g_mean, g_var = (zeros(v) if d is None else d for d, v in zip([*gs, None, None], (ys[0], scale, scale)))
    centred, inverse = moments(x, axes, epsilon)
    dx = standardised(g * _channels(scale, x), centred, inverse, axes)
    dx = dx + (1 - momentum) * over(_channels(g_mean, x) + 2 * centred * _channels(g_var, x), ratio(x, scale, axes))
    d_scale = lambda: op.ReduceSum(g * (centred * inverse), axes, keepdims=0)
    return dx, d_scale, (lambda: op.ReduceSum(g, axes, keepdims=0)), momentum * g_mean, momentum * g_var


def standardised(g: Var, centred: Var, inverse: Var, axes) -> Var:
    """The VJP of centred · inverse = (x - mean) / deviation, both taken over `axes`."""
    along = op.ReduceMean(g * centred, axes, keepdims=1) * inverse * inverse
    return inverse * (g - op.ReduceMean(g, axes, keepdims=1) - centred * along)


def moments(x: Var, axes, epsilon: float) -> tuple[Var, Var]:
    """x less its mean, and one over its deviation."""
    centred = x - op.ReduceMean(x, axes, keepdims=1)
    return centred, 1 / op.Sqrt(op.ReduceMean(centred * centred, axes, keepdims=1) + epsilon)


def _layer_moments(x: Var, y: Var | None, axes, epsilon: float) -> tuple[Var, Var]:
    """The same, of the layer that made y itself if it can tell."""
    made = None if y is None else y.tape.meant.get(y.name)
    if made is None or made.op_type != "LayerNormalization" or x.dtype != np.float32:
        return moments(x, axes, epsilon)
    _, mean, inverse = x.tape.emit(made.op_type, made.operands, 3, made.attributes)
    return x - mean, inverse


@normalization(many=True)
def LayerNormalization(g, y, x, scale, bias=None, *, axis=-1, epsilon=1e-5, stash_type=1):
    axes = list(range(axis % x.rank, x.rank))
    g, g_mean, g_inverse = [*g, None, None][:3]
    g = zeros(x) if g is None else g
    centred, inverse = _layer_moments(x, y[0], axes, epsilon)
    dx = standardised(g * scale, centred, inverse, axes)
    if g_mean is not None:
        dx = dx + over(g_mean, ratio(x, g_mean, axes))
    if g_inverse is not None:  # the third output is 1/σ, whose slope is -centred · inverse³ / n
        dx = dx - over(g_inverse * centred * inverse * inverse * inverse, ratio(x, g_inverse, axes))
    return dx, (lambda: g * (centred * inverse)), (lambda: g)


@normalization
def InstanceNormalization(g, y, x, scale, bias, *, epsilon=1e-5):
    axes = list(range(2, x.rank))
    centred, inverse = moments(x, axes, epsilon)
    dx = standardised(g * _channels(scale, x), centred, inverse, axes)
    return dx, (lambda: op.ReduceSum(g * (centred * inverse), [0, *axes], keepdims=0)), (lambda: op.ReduceSum(g, [0, *axes], keepdims=0))


@normalization
def GroupNormalization(g, y, x, scale, bias, *, num_groups, epsilon=1e-5, stash_type=1):
    grouped = lambda v: op.Reshape(v, [0, num_groups, -1])
    centred, inverse = moments(grouped(x), [2], epsilon)
    dx = reshape_like(standardised(grouped(g * _channels(scale, x)), centred, inverse, [2]), x)
    rest = [0, *range(2, x.rank)]
    return dx, (lambda: op.ReduceSum(g * reshape_like(centred * inverse, x), rest, keepdims=0)), (lambda: op.ReduceSum(g, rest, keepdims=0))


def _group_norm(x: Var, scale: Var, bias: Var, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1) -> Var:
    """As exporters write it: ONNX Runtime's CPU provider knows the operator by a body of smaller nodes."""
    if x.type.shape is None:
        return op.GroupNormalization(x, scale, bias, num_groups=num_groups, epsilon=epsilon, stash_type=stash_type)
    groups = op.Reshape(in_single(x) if stash_type == 1 else x, [0, num_groups, -1])
    if groups.dtype == np.float32:
        unit = op.InstanceNormalization(groups, np.ones(num_groups, np.float32), np.zeros(num_groups, np.float32), epsilon=epsilon)
    else:
        centred, inverse = moments(groups, [2], epsilon)
        unit = centred * inverse
    return cast(reshape_like(unit, x), x) * _channels(scale, x) + _channels(bias, x)


SPELLED_OUT["GroupNormalization"] = _group_norm


@normalization
def MeanVarianceNormalization(g, y, x, *, axes=(0, 2, 3)):
    axes = list(axes)
    centred = x - op.ReduceMean(x, axes, keepdims=1)
    inverse = 1 / (op.Sqrt(op.ReduceMean(centred * centred, axes, keepdims=1)) + 1e-9)
    return (standardised(g, centred, inverse, axes),)


@normalization
def LpNormalization(g, y, x, *, axis=-1, p=2):
    if p == 1:
        norm, slope = op.ReduceL1(x, [axis], keepdims=1), op.Sign(x)
    else:
        norm, slope = op.ReduceL2(x, [axis], keepdims=1), y
    norm = op.Where(op.Equal(norm, 0), 1, norm)
    return ((g - slope * op.ReduceSum(g * y, [axis], keepdims=1)) / norm,)


@normalization
def LRN(g, y, x, *, size, alpha=1e-4, beta=0.75, bias=1.0):
    # y = x / s^β with s = bias + α/n · Σ x² over the neighbouring channels.
    before, after = (size - 1) // 2, math.ceil((size - 1) / 2)

    def over_channels(v: Var, low: int, high: int) -> Var:
        padded = op.Pad(v, [0, low, *[0] * (v.rank - 2), 0, high, *[0] * (v.rank - 2)])
        ends = shape_of(v, 1, 2)
        windows = [op.Slice(padded, [k], ends + np.array([k]), [1]) for k in range(size)]
        return op.Sum(*windows)

    s = bias + (alpha / size) * over_channels(x * x, before, after)
    return (g / op.Pow(s, beta) - (2 * alpha * beta / size) * x * over_channels(g * y / s, after, before),)
