"""Rewrites of what formulas write, for ONNX Runtime's sake: each has a name, can be switched off, and says what it gains.

They apply while a graph is written, node by node: a rewrite gets the operator's operands and attributes and answers with a
better value, or None. The model's own nodes are left as they are. Figures are of two CPU cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from .errors import choose
from .ops.shapes import add_at
from .tape import PEEPHOLES, SWITCHED_OFF, Var, op

OPTIMIZATIONS: dict[str, str] = {}
"""name → what it does and gains."""


def optimization(op_type: str) -> Callable[[Callable], Callable]:
    """Enter a rewrite of an operator under its function's name."""

    def enter(rewrite: Callable) -> Callable:
        PEEPHOLES.setdefault(op_type, {})[rewrite.__name__] = rewrite
        OPTIMIZATIONS[rewrite.__name__] = " ".join((rewrite.__doc__ or "").split())
        return rewrite

    return enter


@contextmanager
def switched_off(*names: str) -> Iterator[None]:
    """Write graphs without some rewrites; without any, if none is named."""
    added = {choose("optimization", n, OPTIMIZATIONS) for n in names or OPTIMIZATIONS} - SWITCHED_OFF
    SWITCHED_OFF.update(added)
    try:
        yield
    finally:
        SWITCHED_OFF.difference_update(added)


@optimization("Cast")
def steep_step(v: Var, *, to: int) -> Var | None:
    """v > c or v < c as 1 or 0, c constant: a steep HardSigmoid, one kernel for two; a ReLU's mask takes 15 % less time, a ReLU6's half."""
    made = v.tape.made.get(v.name)
    if made is None or made[0] not in ("Greater", "Less") or to != 1:
        return None
    x, threshold = made[1]
    if x is None or threshold is None or x.dtype != np.float32 or threshold.value is None or threshold.value.size != 1:
        return None
    c, side = np.float32(threshold.value.item()), 1.0 if made[0] == "Greater" else -1.0
    step = abs(np.nextafter(c, np.float32(side * np.inf)) - c)
    if not np.isfinite(c) or 0 < abs(c) < 1e-30:
        return None
    # A power of two times x, less as much of c, is exact next to c: the neighbour of c arrives at 1.
    steep = 3e38 if c == 0 else float(2.0 ** -np.floor(np.log2(step)))
    return op.HardSigmoid(x, alpha=side * steep, beta=-side * steep * float(c))


@optimization("ConvTranspose")
def flipped_kernel(g: Var, w: Var, *, strides, pads=None, dilations, group=1, output_padding=None) -> Var | None:
    """With stride 1 it is a convolution with the kernel flipped: 106 → 66 ms for 128 → 128 channels at 112², batch 8."""
    n = len(strides)
    reach = [d * (k - 1) for k, d in zip(w.shape[2:], dilations)] if w.is_static else []
    pads = pads or [0] * 2 * n
    if any(s != 1 for s in strides) or any(output_padding or ()) or not _many_channels(w, group) or any(p > r for p, r in zip(pads, reach * 2)):
        return None
    flipped = _swap_channels(w, group)
    if any(reach):
        flipped = op.Slice(flipped, [-1] * n, [-(2**31)] * n, list(range(2, 2 + n)), [-1] * n)
    return op.Conv(g, flipped, pads=[r - p for p, r in zip(pads, reach * 2)], dilations=dilations, group=group)


@optimization("ConvTranspose")
def pointwise_spread(g: Var, w: Var, *, strides, pads=None, dilations, group=1, output_padding=None) -> Var | None:
    """A strided 1×1 kernel is a convolution whose cells are spread over a wider map by constant matrices: 7.6 → 3.4 ms."""
    if not w.is_static or any(k != 1 for k in w.shape[2:]) or any(pads or ()) or len(strides) > 2 or not _many_channels(w, group) or _unknown(g):
        return None
    y = op.Conv(g, _swap_channels(w, group), group=group)
    for axis, (s, rest) in enumerate(zip(strides, output_padding or [0] * len(strides)), 2):
        if s > 1:
            cells = int(y.shape[axis] or 0)
            places = np.zeros((cells, s * (cells - 1) + 1 + rest))
            places[np.arange(cells), s * np.arange(cells)] = 1
            y = y @ y.tape.constant(places, y) if axis == y.rank - 1 else y.tape.constant(places.T, y) @ y
    return y


@optimization("MaxUnpool")
def scattered_unpool(g: Var, winner: Var, shape: Var, *, kernel_shape: Sequence[int], strides: Sequence[int], pads: Sequence[int]) -> Var | None:
    """CUDA and browsers have no MaxUnpool: what may run there scatters. On CPU alone MaxUnpool stays: 24 → 3.4 ms for VGG16's, batch 8."""
    if not g.tape.portable:
        return None
    return add_at(op.Expand(g.tape.constant(0.0, g), shape), winner, g)


def _unknown(g: Var) -> bool:
    return not all(isinstance(d, int) for d in g.shape[2:])


def _many_channels(w: Var, group: int) -> bool:
    """A convolution beats ConvTranspose on CPU unless it makes few channels: 64 → 3 at 224² takes 30 ms for 14."""
    return w.is_static and int(w.shape[1] or 0) * group >= 8


def _swap_channels(w: Var, group: int) -> Var:
    """A kernel [O, I/g, …] as [I, O/g, …]."""
    out, per_group, *kernel = (int(d or 0) for d in w.shape)
    rest = list(range(3, 3 + len(kernel)))
    if group == 1:
        return op.Transpose(w, perm=[1, 0, *(r - 1 for r in rest)])
    if per_group == 1 and out == group:
        return w
    grouped = op.Transpose(op.Reshape(w, [group, out // group, per_group, *kernel]), perm=[0, 2, 1, *rest])
    return op.Reshape(grouped, [group * per_group, out // group, *kernel])
