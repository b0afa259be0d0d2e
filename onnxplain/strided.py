"""Convolutions with strides on the way back, by a convolution for each place of a stride, or by one of cells that are spread.

y at s·i + a is the sum of g at i + (a + p) // s − t times the taps (a + p) mod s + s·t, with padding p: a plain convolution of g by every s-th
tap, from last to first. The images of all places are woven, and cells are spread, with channels last, where whole pixels are copied, and where
ONNX Runtime's convolutions leave an image, and find it, as easily as with channels first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .ops.shapes import to_channels_first, to_channels_last
from .tape import Var, op

MOST = 4
"""Strides above which there are too many images to weave. Where windows do not overlap, there is nothing to gain either."""


def transposed(g: Var, w: Var, strides: Sequence[int], pads: Sequence[int], output_padding: Sequence[int]) -> Var | None:
    """ConvTranspose of an image [N, C, H, W] and a kernel [C, O, h, w]; None if that is as fast, or where a convolution would have to crop."""
    cells, taps, channels = [int(d or 0) for d in g.shape[2:]], [int(d or 0) for d in w.shape[2:]], int(w.shape[1] or 0)
    if max(strides) > MOST or any(1 < s >= t for s, t in zip(strides, taps)):
        return None
    extents = [s * (c - 1) + t - p - q + more for s, c, t, p, q, more in zip(strides, cells, taps, pads[:2], pads[2:], output_padding)]
    high, wide = (-(-extent // s) for extent, s in zip(extents, strides))
    rows, columns = (_places(*axis) for axis in zip(cells, taps, strides, pads[:2], (high, wide)))
    if any(min(place) < 0 for place in (*rows, *columns)):
        return None
    kernel = op.Transpose(w, perm=[1, 0, 2, 3])
    woven = []
    for lowest, top, bottom in rows:
        images = []
        for last, left, right in columns:
            each = op.Slice(kernel, [lowest, last], [-(2**31)] * 2, [2, 3], [-s for s in strides])
            images.append(to_channels_last(op.Conv(g, each, pads=[top, left, bottom, right])))
        woven.append(op.Reshape(op.Concat(*images, axis=3), [0, high, strides[1] * wide * channels]))  # 0, not −1: it keeps the batch's name
    return to_channels_first(op.Reshape(op.Concat(*woven, axis=2), [0, strides[0] * high, strides[1] * wide, channels]), extents)


def spread(x: Var, strides: Sequence[int], rest: Sequence[int] | None) -> Var:
    """The cells of x `strides` apart, zeros between them and `rest` behind, fewer than a stride: each times a one among zeros."""
    n, channels = len(strides), int(x.shape[1] or 0)
    cells = [int(d or 0) for d in x.shape[2:]]
    first = np.zeros([side for s in strides for side in (1, s)] + [1])
    first.flat[0] = 1
    apart = op.Reshape(to_channels_last(x), [0, *(side for c in cells for side in (c, 1)), channels])
    wide = op.Reshape(apart * x.tape.constant(first, x), [0, *(s * c for s, c in zip(strides, cells)), channels])
    return to_channels_first(wide, [s * (c - 1) + 1 + more for s, c, more in zip(strides, cells, rest or [0] * n)])


def _places(cells: int, taps: int, stride: int, before: int, made: int) -> list[tuple[int, int, int]]:
    """For each place of a stride its last tap, and the zeros that cells get at both ends to make so many; negative where cells are cut."""
    places = []
    for place in range(stride):
        at, first = divmod(place + before, stride)
        more = (taps - 1 - first) // stride
        places.append((first + stride * more, more - at, made - cells + at))
    return places
