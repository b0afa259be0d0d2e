"""Rewrites of what formulas write, for ONNX Runtime's sake: each has a name, can be switched off, and says what it gains.

Most apply while a graph is written, node by node: a rewrite gets the operator's operands and attributes and answers with a
better value, or None. Some look at all nodes in the end. The model's own nodes are left as they are, but that they may get further
outputs: a MaxPool that is asked for its winners later is not run twice. Figures are of two CPU cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from onnx import helper

from .errors import choose
from .ops.shapes import add_at, same_shape, typed
from .tape import FINISHERS, PEEPHOLES, SWITCHED_OFF, Formula, Operand, Tape, Var, op, spelled

OPTIMIZATIONS: dict[str, str] = {}
"""name → what it does and gains."""


def optimization(op_type: str) -> Callable[[Callable], Callable]:
    """Enter a rewrite of an operator under its function's name."""

    def enter(rewrite: Callable) -> Callable:
        PEEPHOLES.setdefault(op_type, {})[rewrite.__name__] = rewrite
        OPTIMIZATIONS[rewrite.__name__] = " ".join((rewrite.__doc__ or "").split())
        return rewrite

    return enter


def finish(rewrite: Callable[[Tape, list[onnx.NodeProto]], list[onnx.NodeProto]]) -> Callable:
    """Enter a rewrite of all nodes under its function's name."""
    FINISHERS[rewrite.__name__] = rewrite
    OPTIMIZATIONS[rewrite.__name__] = " ".join((rewrite.__doc__ or "").split())
    return rewrite


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
    """v > c, v < c, v ≥ c or v ≤ c as 1 or 0, c constant: a steep HardSigmoid, one kernel for two; a ReLU's mask takes 15 % less time, a ReLU6's half."""
    compared = _meant(v)
    if compared is None or compared.op_type not in ("Greater", "Less", "GreaterOrEqual", "LessOrEqual") or to != 1:
        return None
    x, threshold = compared.operands
    if not isinstance(x, Var) or not isinstance(threshold, Var) or x.dtype != np.float32 or threshold.value is None or threshold.value.size != 1:
        return None
    c, side, strict = np.float32(threshold.value.item()), 1.0 if compared.op_type.startswith("Greater") else -1.0, not compared.op_type.endswith("Equal")
    if c == 0 and not strict:  # signs are asked of sums, which are in no blocks
        return x.tape.emit("HardSigmoid", [x], attributes={"alpha": side * 3e38, "beta": 1.0})
    if not strict:
        c = np.nextafter(c, np.float32(-side * np.inf))
    step = abs(np.nextafter(c, np.float32(side * np.inf)) - c)
    if not np.isfinite(c) or 0 < abs(c) < 1e-30:
        return None
    # A power of two times x, less as much of c, is exact next to c: the neighbour of c arrives at 1.
    steep = 3e38 if c == 0 else float(2.0 ** -np.floor(np.log2(step)))
    mask = op.HardSigmoid(x, alpha=side * steep, beta=-side * steep * float(c))
    x.tape.meant[mask.name] = Formula("Cast", [v], {"to": to})
    return mask


@optimization("HardSigmoid")
def blocked_mask(x: Var, *, alpha: float = 0.2, beta: float = 0.5) -> Var | None:
    """A mask made in the layout that convolutions leave their images in, by one that scales each channel: VGG16 spares a third of its reorders."""
    if x.tape.portable or x.dtype != np.float32 or (alpha, beta) == (1, 0) or not _blocked(x):
        return None
    mask = op.HardSigmoid(_channelwise(x, alpha, beta), alpha=1.0, beta=0.0)
    x.tape.blocked[mask.name] = True
    return mask


@optimization("Mul")
def mask_before_unpooling(a: Operand, b: Operand) -> Var | None:
    """What multiplies an unpooled map and is a function of the pooled one's cells is asked of the winners alone: a quarter of VGG16's largest masks."""
    for spread, factor in ((a, b), (b, a)):
        if isinstance(spread, Var) and isinstance(factor, Var) and (unpooled := _unpooled(spread)) is not None:
            g, winner = unpooled.operands[:2]
            pool = _meant(winner)
            if pool is not None and pool.op_type == "MaxPool" and (at := _moved(factor, pool.operands[0], pool)) is not None:
                return _unpool(spread, unpooled, at.tape.emit("Mul", [g, at]))  # as it is: what unpools reads no blocks
    return None


@optimization("Mul")
def blocked_product(a: Operand, b: Operand) -> Var | None:
    """A mask in the blocked layout brings there what it multiplies, and all that follows: ResNet50 spares 30 of 44 reorders."""
    return None if (both := _both_blocked(a, b)) is None else op.Mul(*both)


@optimization("Add")
def blocked_sum(a: Operand, b: Operand) -> Var | None:
    """The same where branches meet."""
    return None if (both := _both_blocked(a, b)) is None else op.Add(*both)


@optimization("Relu")
def relu_before_unpooling(x: Operand) -> Var | None:
    """What is zero between the winners needs no ReLU there: a quarter of the work with windows of 2 × 2."""
    unpooled = _unpooled(x)
    if unpooled is None or unpooled.op_type != "MaxUnpool":  # where windows overlap, a ReLU looks at sums
        return None
    return _unpool(x, unpooled, op.Relu(unpooled.operands[0]))


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
    spread = add_at(op.Expand(g.tape.constant(0.0, g), shape), winner, g)
    g.tape.meant[spread.name] = Formula("MaxUnpool", [g, winner, shape], {"kernel_shape": kernel_shape, "strides": strides, "pads": pads})
    return spread


@finish
def shared_product(tape: Tape, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Convolutions by changed weights that differ in their bias alone are one: six methods on VGG16 make 99 of 112, in 0.60 of the time apart for 0.66."""
    made = {o for n in nodes for o in n.output}
    alike: dict[tuple, list[onnx.NodeProto]] = {}
    for n in nodes:
        known = tape.shapes.get(n.output[0])
        if n.op_type == "Conv" and n.input[1] in made and known is not None and known.shape is not None:
            alike.setdefault((*n.input[:2], *spelled(n.attribute)), []).append(n)
    bare = {id(g[0]): n for g in alike.values() for n in g if len(g) > 1 and len(n.input) == 2}  # equal nodes are one: each group has one at most
    sums = {id(n): bare[id(g[0])] for g in alike.values() if id(g[0]) in bare for n in g}
    finished = []
    for n in nodes:
        if id(n) in bare:
            finished.append(bare[id(n)])
        if id(n) not in sums:
            finished.append(n)
        elif sums[id(n)] is not n:
            bias, rank = tape.name(f"{n.input[2]}_map"), len(tape.shapes[n.output[0]].shape or ())
            finished.append(helper.make_node("Unsqueeze", [n.input[2], tape.constant([0, *range(2, rank)]).name], [bias]))
            finished.append(helper.make_node("Add", [sums[id(n)].output[0], bias], n.output))
    return finished


# ---- what a value was asked for as ----

ELEMENTWISE = ("Cast", "Greater", "Less", "HardSigmoid")
"""What masks are made of."""
BLOCKED = ("Relu", "Clip", "Add", "Mul", "BatchNormalization", "Concat")
"""What ONNX Runtime computes in its blocked layout, as it does a convolution, if that is where the operands are."""
BLOCK = 16
"""Channels that lie together, at the most that processors have."""


def _meant(v: Operand) -> Formula | None:
    return v.tape.meant.get(v.name) if isinstance(v, Var) else None


def _attributes(formula: Formula) -> dict[str, Any]:
    """The attributes as Python values."""
    if isinstance(formula.attributes, Mapping):
        return dict(formula.attributes)
    return {a.name: helper.get_attribute_value(a) for a in formula.attributes}


def _unpooled(v: Operand) -> Formula | None:
    """The unpooling that a value is: of winners g, their places, and where they come to lie."""
    formula = _meant(v)
    return formula if formula is not None and formula.op_type in ("MaxUnpool", "add_at") else None


def _unpool(spread: Var, unpooled: Formula, g: Var) -> Var:
    """Other winners in the same places."""
    _, winner, target = unpooled.operands
    if unpooled.op_type == "add_at":
        return add_at(target, winner, g)  # pyright: ignore[reportArgumentType]  (Vars by its signature)
    return typed(op.MaxUnpool(g, winner, target, **_attributes(unpooled)), spread)


def _moved(v: Var, x: Operand, to: Formula) -> Var | None:
    """An elementwise function of x, as one of something else; None if v is no such function."""
    if isinstance(x, Var) and v.name == x.name:
        return getattr(op, to.op_type)(*to.operands, **_attributes(to))
    formula = _meant(v)
    if formula is None or formula.op_type not in ELEMENTWISE:
        return None
    first, *others = formula.operands
    moved = _moved(first, x, to) if isinstance(first, Var) and all(isinstance(o, Var) and o.value is not None for o in others) else None
    return None if moved is None else getattr(op, formula.op_type)(moved, *others, **_attributes(formula))


def _blocked(x: Var) -> bool:
    """Whether a convolution leaves x in ONNX Runtime's blocked layout, itself or through operators that keep it."""
    known, formula = x.tape.blocked, _meant(x)
    if x.name not in known:
        known[x.name] = formula is not None and _image(x) and isinstance(x.shape[1], int) and x.shape[1] % BLOCK == 0 and _keeps_blocks(formula)
    return known[x.name]


def _both_blocked(a: Operand, b: Operand) -> list[Var] | None:
    """Two images of one shape where one of them is in the blocked layout: both of them there."""
    if not isinstance(a, Var) or not isinstance(b, Var) or a.tape.portable or a.dtype != np.float32 or not same_shape(a.type.shape, b.type.shape):
        return None
    return [v if _blocked(v) else _channelwise(v, 1.0, 0.0) for v in (a, b)] if _blocked(a) != _blocked(b) else None


def _keeps_blocks(formula: Formula) -> bool:
    images = [v for v in formula.operands if isinstance(v, Var) and _image(v)]
    return formula.op_type == "Conv" or (formula.op_type in BLOCKED and bool(images) and all(map(_blocked, images)))


def _image(v: Var) -> bool:
    return v.type.shape is not None and v.rank == 4


def _channelwise(x: Var, scale: float, shift: float) -> Var:
    """scale · x + shift by a convolution, whose result is in the blocked layout."""
    channels = int(x.shape[1] or 0)
    kernel, bias = (x.tape.constant(np.full(shape, value, np.float32)) for shape, value in (([channels, 1, 1, 1], scale), ([channels], shift)))
    return op.Conv(x, kernel, bias if shift else None, group=channels)


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
