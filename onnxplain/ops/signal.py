"""Fourier transforms: linear maps whose transposes are Fourier transforms again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..tape import Type, Var, op
from .registry import reduction
from .shapes import cast, counted, dim, pad, reshape_like, typed, zeros


@reduction
def DFT(g, y, x, dft_length=None, axis=None, *, inverse=0, onesided=0):
    axis = op.Reshape(op.Cast(axis, to=7), [1]) if axis is not None else x.tape.constant(np.array([-2]))  # known at run time, perhaps
    extent = op.Gather(op.Shape(x), axis)
    if not (inverse and onesided):
        n = extent if dft_length is None else op.Reshape(op.Cast(dft_length, to=7), [1])
        return typed(_transpose(g, n, axis, extent, dim(x, -1), inverse), x), None, None
    # y = Re(x₀ + 2·x₁e^… + …)/n: every bin but the first, and for even n the last, stands for two.
    n = op.Gather(op.Shape(y), axis)
    k = counted(n / 2 + 1)
    weight = (2 - cast(op.Equal(k, 0) | op.Equal(k * 2, n), x)) / cast(n, x)
    along = op.Where(op.Equal(op.Mod(axis + x.rank, x.rank), np.arange(x.rank)), -1, 1)
    spectrum = op.DFT(g, None, op.Squeeze(axis, [0]), onesided=1) * op.Reshape(weight, along)
    return typed(_fit(spectrum, axis, extent), x), None, None


def _transpose(g: Var, n: Var, axis: Var, extent: Var, parts: Var, inverse: int = 0) -> Var:
    """The adjoint of a transform of length n: absent bins are zero; then as many samples as there were, real ones if they were."""
    back = op.DFT(_fit(g, axis, n), None, op.Squeeze(axis, [0]), inverse=1 - inverse)
    back = back / cast(n, g) if inverse else back * cast(n, g)
    return op.Slice(_fit(back, axis, extent), [0], parts, [-1])


def _fit(v: Var, axis: Var, extent: Var) -> Var:
    """v cut, or padded with zeros, to an extent along an axis."""
    cut = op.Slice(v, [0], extent, axis)
    return pad(cut, op.Concat([0], extent - op.Gather(op.Shape(cut), axis), axis=0), axis)


@reduction
def STFT(g, y, signal, frame_step, window=None, frame_length=None, *, onesided=1):
    """Frames of the signal, times the window, each transformed."""
    g, y = (replace(v, type=Type.tensor(v.dtype, [None] * 4)) for v in (g, y))  # ONNX infers the rank of constant settings only
    extent = (
        dim(signal, 1) if window is None and frame_length is None else dim(window, 0) if frame_length is None else op.Reshape(op.Cast(frame_length, to=7), [1])
    )
    numbers = counted
    first = numbers(dim(y, 1)) * op.Reshape(op.Cast(frame_step, to=7), [1])
    place = op.Reshape(op.Unsqueeze(first, [1]) + op.Unsqueeze(numbers(extent), [0]), [-1])  # frame by frame
    d_frames = _transpose(g, extent, g.tape.constant(np.array([2])), extent, dim(signal, 2))  # [B, frames, samples, parts]

    def d_signal():
        sent = d_frames if window is None else d_frames * op.Unsqueeze(window, [1])
        flat = op.Reshape(sent, op.Concat(dim(signal, 0), [-1], dim(signal, 2), axis=0))
        index = op.Expand(op.Reshape(place, [1, -1, 1]), op.Concat(dim(signal, 0), [1], dim(signal, 2), axis=0))
        return op.ScatterElements(zeros(signal), index, flat, axis=1, reduction="add")

    def d_window():
        return op.ReduceSum(d_frames * reshape_like(op.Gather(signal, place, axis=1), d_frames), [0, 1, 3], keepdims=0)

    return d_signal, None, d_window, None
