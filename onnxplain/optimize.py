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
from .foreign.registry import MICROSOFT
from .ops.shapes import add_at, same_shape, typed
from .strided import spread
from .strided import transposed as woven
from .tape import FINISHERS, PEEPHOLES, SWITCHED_OFF, Formula, Operand, Tape, Var, op, spelled
from .winograd import transposed as tiled

OPTIMIZATIONS: dict[str, str] = {}
"""name → what it does and gains."""


def named(rewrite: Callable) -> Callable:
    """Enter a rewrite among those that can be switched off, under its function's name."""
    OPTIMIZATIONS[rewrite.__name__] = " ".join((rewrite.__doc__ or "").split())
    return rewrite


def optimization(op_type: str) -> Callable[[Callable], Callable]:
    """Enter a rewrite of an operator under its function's name."""

    def enter(rewrite: Callable) -> Callable:
        PEEPHOLES.setdefault(op_type, {})[rewrite.__name__] = rewrite
        return named(rewrite)

    return enter


def finish(rewrite: Callable[[Tape, list[onnx.NodeProto]], list[onnx.NodeProto]]) -> Callable:
    """Enter a rewrite of all nodes under its function's name."""
    FINISHERS[rewrite.__name__] = rewrite
    return named(rewrite)


@contextmanager
def switched_off(*names: str) -> Iterator[None]:
    """Write graphs without some rewrites, in this thread; without any, if none is named."""
    before = SWITCHED_OFF.set(SWITCHED_OFF.get() | {choose("optimization", n, OPTIMIZATIONS) for n in names or OPTIMIZATIONS})
    try:
        yield
    finally:
        SWITCHED_OFF.reset(before)


@optimization("Cast")
def steep_step(v: Var, *, to: int) -> Var | None:
    """v > c, v < c, v ≥ c or v ≤ c as 1 or 0, c constant: a steep HardSigmoid, one kernel for two; a ReLU's mask takes 15 % less time, a ReLU6's half."""
    compared = _comparison(v)
    if compared is None or to != 1:
        return None
    how, x, c = compared
    side, strict = 1.0 if how.startswith("Greater") else -1.0, not how.endswith("Equal")
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
    return _fused(x, alpha, beta, "HardSigmoid", [1.0, 0.0])


@optimization("Mul")
def band_mask(a: Operand, b: Operand) -> Var | None:
    """Both masks of a ReLU6 in one, the upper as what is added to the lower: MobileNetV2 takes a sixth less time."""
    product, upper = _meant(a), _compared(b, "Less")
    if product is None or product.op_type != "Mul" or upper is None:
        return None
    g, lower = product.operands[0], _compared(product.operands[1], "Greater")
    y, high = upper
    if lower is None or not _same(lower[0], y) or y.tape.portable or not _blocked(y) or not _at_most(y, high):
        return None
    low = lower[1]
    with np.errstate(over="ignore"):  # then the bounds are too wide
        rise = 2.0 ** -np.floor(np.log2(np.nextafter(low, np.float32(np.inf)) - low)) if low else 2.0**96
        depth = 2 * rise * float(high - low)
        before = np.nextafter(high, np.float32(-np.inf))
        fall = 2.0 ** np.ceil(np.log2(depth / float(high - before)))
        if not high > low or not max(abs(low), abs(high)) * max(rise, fall) <= 1e38:
            return None
    closed = _fused(y, -fall, fall * float(before), "Clip", [-depth, 0.0])
    return op.Mul(g, _fused(y, rise, -rise * float(low), "HardSigmoid", [1.0, 0.0], closed))


@optimization("Mul")
def mask_before_unpooling(a: Operand, b: Operand) -> Var | None:
    """What multiplies an unpooled map and is a function of the pooled one's cells is asked of the winners alone: a quarter of VGG16's largest masks."""
    for wide, factor in ((a, b), (b, a)):
        if isinstance(wide, Var) and isinstance(factor, Var) and (unpooled := _unpooled(wide)) is not None:
            g, winner = unpooled.operands[:2]
            pool = _meant(winner)
            if pool is not None and pool.op_type == "MaxPool" and (at := _moved(factor, pool.operands[0], pool)) is not None:
                return _unpool(wide, unpooled, at.tape.emit("Mul", [g, at]))  # as it is: what unpools reads no blocks
    return None


@optimization("Mul")
def mask_before_relu(a: Operand, b: Operand) -> Var | None:
    """max(x, 0) · m as max(x · m, 0), where x was unpooled, so that the mask too is asked of the winners: ResNet50's guided_backprop takes 1 % less time."""
    for rectified, mask in ((a, b), (b, a)):
        relu = _meant(rectified)
        if relu is not None and relu.op_type == "Relu" and _unpooled(relu.operands[0]) is not None and _compared(mask, "Greater") is not None:
            return op.Relu(op.Mul(relu.operands[0], mask))
    return None


@optimization("Mul")
def blocked_product(a: Operand, b: Operand) -> Var | None:
    """A mask in the blocked layout brings there what it multiplies, and all that follows: ResNet50 spares 30 of 44 reorders."""
    return None if (both := _both_blocked(a, b)) is None else op.Mul(*both)


@optimization("Add")
def blocked_sum(a: Operand, b: Operand) -> Var | None:
    """An Add brings both of its summands into the blocked layout, as `blocked_product` does for a Mul."""
    return None if (both := _both_blocked(a, b)) is None else op.Add(*both)


@optimization("Add")
def common_factor(a: Operand, b: Operand) -> Var | None:
    """a·c + a·d as a·(c + d), where branches meet: one product for two, of numbers or of matrices, and a convolution adds. ResNet50 with LRP: a twelfth."""
    left, right = _meant(a), _meant(b)
    if left is None or right is None or left.op_type != right.op_type or left.op_type not in ("Mul", "MatMul"):
        return None
    for k, common in enumerate(left.operands):
        for m, other in enumerate(right.operands):
            c, d = left.operands[1 - k], right.operands[1 - m]
            fits = isinstance(c, Var) and isinstance(d, Var) and same_shape(c.type.shape, d.type.shape)
            if fits and _same(common, other) and (left.op_type == "Mul" or k == m):
                return getattr(op, left.op_type)(*((c + d, common) if k else (common, c + d)))
    return None


@optimization("Div")
def share_of_relu(r: Operand, z: Operand) -> Var | None:
    """a·c / (z ± ε) with a = max(z, 0) as c · a / (a + ε): no need of z or its sign, and only a pool's winners are divided. LRP-ε: 6 to 15 % less."""
    stabilized = _meant(z)
    if stabilized is None or stabilized.op_type != "stabilized":
        return None
    stabilizer, unpooled = _attributes(stabilized)["by"], _unpooled(r)
    a, product = op.Relu(stabilized.operands[0]), _meant(r)
    if unpooled is not None:
        pool, product = _meant(unpooled.operands[1]), _meant(unpooled.operands[0])
        if pool is None or pool.op_type != "MaxPool" or not _same(pool.operands[0], a):
            return None
        a = op.MaxPool(a, **_attributes(pool))
    if product is None or product.op_type != "Mul" or not any(_same(v, a) for v in product.operands):
        return None
    c = product.operands[_same(product.operands[0], a)]
    each = op.Mul(c, a / stabilizer(a, 1))
    return each if unpooled is None else _unpool(r, unpooled, each)


@optimization("MatMul")
def transposed_factor(a: Operand, b: Operand) -> Var | None:
    """A factor that is transposed is read across instead: on an attention's way back, ViT-B/16 spares 36 transpositions, 1 % of its time."""
    across = {k: v for k, v in (("transA", _across(a)), ("transB", _across(b))) if v is not None}
    tape = next((v.tape for v in across.values()), None)
    if tape is None or tape.portable:
        return None
    tape.imports[MICROSOFT] = 1
    plain, factors = tape.emit("MatMul", [a, b]), [across.get("transA", a), across.get("transB", b)]
    product = tape.emit("FusedMatMul", factors, attributes=dict.fromkeys(across, 1), types=[plain.type], domain=MICROSOFT)
    tape.meant[product.name] = Formula("MatMul", [a, b], {})
    return product


@optimization("ReduceSum")
def rows_of_product(v: Operand, axes: Operand = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Var | None:
    """Σⱼ (a·bᵀ)ᵢⱼ pᵢⱼ as Σₖ aᵢₖ (p·b)ᵢₖ, where p·b is there already: softmax's way back in an attention, 1 % of ViT-B/16's time."""
    weighed = _meant(v)
    if weighed is None or weighed.op_type != "Mul" or not isinstance(v, Var) or v.type.shape is None or axes not in ([-1], [v.rank - 1]):
        return None
    for product, p in (weighed.operands, weighed.operands[::-1]):
        factors = _meant(product)
        if factors is not None and factors.op_type == "MatMul" and isinstance(p, Var):
            a, b = factors.operands[0], _across(factors.operands[1])
            if isinstance(a, Var) and b is not None and p.tape.has("MatMul", p, b):
                return op.ReduceSum(a * (p @ b), [-1], keepdims=keepdims)
    return None


@optimization("Relu")
def relu_before_unpooling(x: Operand) -> Var | None:
    """What is zero between the winners needs no ReLU there: a quarter of the work with windows of 2 × 2."""
    unpooled = _unpooled(x)
    if unpooled is None or unpooled.op_type != "MaxUnpool":  # where windows overlap, a ReLU looks at sums
        return None
    return _unpool(x, unpooled, op.Relu(unpooled.operands[0]))


@optimization("Relu")
def relu_before_transposition(x: Operand) -> Var | None:
    """A ReLU's image is transposed, not its operand: what is woven goes into the blocked layout without being put in rows. ResNet50's deconvnet: 1 % less."""
    transposed = _meant(x)
    if transposed is None or transposed.op_type != "Transpose" or not isinstance(x, Var) or x.tape.portable:
        return None
    return op.Transpose(op.Relu(transposed.operands[0]), **_attributes(transposed))


@optimization("ConvTranspose")
def scaled_kernel(g: Var, w: Var, **window: Any) -> Var | None:
    """A number that multiplies an image multiplies the kernel instead, once: α and β of LRP-αβ, 1.4 % of ResNet50's time."""
    product = _meant(g)
    if product is None or product.op_type != "Mul":
        return None
    for number, image in (product.operands, reversed(product.operands)):
        if isinstance(number, Var) and number.value is not None and number.value.ndim == 0:
            return op.ConvTranspose(image, number * w, **window)
    return None


@optimization("ConvTranspose")
def winograd(g: Var, w: Var, *, strides, pads=None, dilations, group=1, output_padding=None) -> Var | None:
    """Many channels by 3 × 3 kernels in tiles of 4 × 4, by a quarter of the products: 34 → 18 ms for 512 → 512 channels at 28², a twelfth of VGG16."""
    pads = pads or [0] * 4
    plain = w.is_static and w.shape[2:] == (3, 3) and {*strides, *dilations, group} == {1} and not any(output_padding or ()) and max(pads) <= 2
    if g.tape.portable or g.dtype != np.float32 or not plain or _unknown(g):
        return None
    return tiled(g, w, pads)


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
    """A strided 1 × 1 kernel is a convolution whose cells are spread over a wider map: 14.7 → 10.8 ms for 2048 → 1024 channels at 7²."""
    if set(strides) == {1} or not w.is_static or any(k != 1 for k in w.shape[2:]) or any(pads or ()) or not _many_channels(w, group) or _unknown(g):
        return None
    return spread(op.Conv(g, _swap_channels(w, group), group=group), strides, output_padding)


@optimization("ConvTranspose")
def depthwise_spread(g: Var, w: Var, *, strides, pads=None, dilations, group=1, output_padding=None) -> Var | None:
    """A strided kernel for each channel has stride 1 on cells that are spread first: 10 → 4 ms for 96 channels at 112², a tenth of MobileNetV2."""
    if set(strides) == {1} or w.shape[1] != 1 or not _many_channels(w, group) or _unknown(g):
        return None
    return op.ConvTranspose(spread(g, strides, output_padding), w, strides=[1] * len(strides), pads=pads, dilations=dilations, group=group)


@optimization("ConvTranspose")
def strided_kernel(g: Var, w: Var, *, strides, pads=None, dilations, group=1, output_padding=None) -> Var | None:
    """A strided kernel is a convolution for each place of a stride, and their images are woven: 24 → 12 ms for 32 → 32 channels to 224², 1 % of ResNet50."""
    blocks = w.is_static and w.rank == 4 and all(int(c or 0) % BLOCK == 0 for c in w.shape[:2])
    if g.tape.portable or g.dtype != np.float32 or not blocks or {*dilations, group} != {1} or set(strides) == {1} or _unknown(g):
        return None
    return woven(g, w, strides, pads or [0] * 4, output_padding or [0, 0])


@optimization("MaxUnpool")
def scattered_unpool(g: Var, winner: Var, shape: Var, *, kernel_shape: Sequence[int], strides: Sequence[int], pads: Sequence[int]) -> Var | None:
    """CUDA and browsers have no MaxUnpool: what may run there scatters. On CPU alone MaxUnpool stays: 24 → 3.4 ms for VGG16's, batch 8."""
    if not g.tape.portable:
        return None
    wide = add_at(op.Expand(g.tape.constant(0.0, g), shape), winner, g)
    g.tape.meant[wide.name] = Formula("MaxUnpool", [g, winner, shape], {"kernel_shape": kernel_shape, "strides": strides, "pads": pads})
    return wide


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


@finish
def early_mask(tape: Tape, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """A mask is made right behind what it is made of, so that ONNX Runtime may add in place to what nobody reads later: ResNet50 takes 2 % less time."""
    # ONNX Runtime walks from the outputs, the last node first. A mask written before what it multiplies is run before it.
    if tape.portable:
        return nodes
    place: dict[str, int] = {}
    order = []
    for k, n in enumerate(nodes):
        early = n.op_type in ("FusedConv", "Identity")
        at = max((place[name] for name in n.input if name in place), default=-1) if early else k
        order.append((at, early, k))
        place.update(dict.fromkeys(n.output, at))
    return [nodes[k] for *_, k in sorted(order)]


# ---- what a value was asked for as ----

OF_MASKS = ("Cast", "Greater", "Less", "HardSigmoid")
"""What masks are made of."""
BLOCKED = ("Relu", "Clip", "Add", "Mul", "BatchNormalization", "Concat")
"""What ONNX Runtime computes in its blocked layout, as it does a convolution, if that is where the operands are."""
BLOCK = 16
"""Channels that lie together, at the most that processors have."""


def _meant(v: Operand) -> Formula | None:
    return v.tape.meant.get(v.name) if isinstance(v, Var) else None


def _across(v: Operand) -> Var | None:
    """The matrices that v transposes."""
    formula = _meant(v)
    if formula is None or formula.op_type != "Transpose" or not isinstance(v, Var) or v.dtype != np.float32 or v.type.shape is None or v.rank < 3:
        return None
    *rest, i, j = range(v.rank)
    return formula.operands[0] if list(_attributes(formula).get("perm", ())) == [*rest, j, i] else None  # pyright: ignore[reportReturnType]  (it has a type)


def _comparison(v: Operand) -> tuple[str, Var, np.float32] | None:
    """What a value asks of which float32 tensor and which constant, if it is a comparison."""
    compared = _meant(v)
    if compared is None or compared.op_type not in ("Greater", "Less", "GreaterOrEqual", "LessOrEqual"):
        return None
    x, c = compared.operands
    if not isinstance(x, Var) or not isinstance(c, Var) or x.dtype != np.float32 or c.value is None or c.value.size != 1:
        return None
    return compared.op_type, x, np.float32(c.value.item())


def _compared(mask: Operand, how: str) -> tuple[Var, np.float32] | None:
    """What a mask compares with which constant, if that is how it does."""
    cast = _meant(mask)
    compared = _comparison(cast.operands[0]) if cast is not None and cast.op_type == "Cast" else None
    return compared[1:] if compared is not None and compared[0] == how else None


def _at_most(y: Var, bound: np.float32) -> bool:
    """Whether y is clipped to no more than a bound."""
    clip = _meant(y)
    high = clip.operands[2] if clip is not None and clip.op_type == "Clip" and len(clip.operands) == 3 else None
    return isinstance(high, Var) and high.value is not None and bool((high.value <= bound).all())


def _same(a: Operand, b: Operand) -> bool:
    return isinstance(a, Var) and isinstance(b, Var) and a.name == b.name


def _attributes(formula: Formula) -> dict[str, Any]:
    """The attributes as Python values."""
    if isinstance(formula.attributes, Mapping):
        return dict(formula.attributes)
    return {a.name: helper.get_attribute_value(a) for a in formula.attributes}


def _unpooled(v: Operand) -> Formula | None:
    """The unpooling that a value is: of winners g, their places, and where they come to lie."""
    formula = _meant(v)
    return formula if formula is not None and formula.op_type in ("MaxUnpool", "add_at") else None


def _unpool(wide: Var, unpooled: Formula, g: Var) -> Var:
    """Other winners in the same places."""
    _, winner, target = unpooled.operands
    if unpooled.op_type == "add_at":
        return add_at(target, winner, g)  # pyright: ignore[reportArgumentType]  (Vars by its signature)
    return typed(op.MaxUnpool(g, winner, target, **_attributes(unpooled)), wide)


def _moved(v: Var, x: Operand, to: Formula) -> Var | None:
    """An elementwise function of x, as one of something else; None if v is no such function."""
    if isinstance(x, Var) and v.name == x.name:
        return getattr(op, to.op_type)(*to.operands, **_attributes(to))
    formula = _meant(v)
    if formula is None or formula.op_type not in OF_MASKS:
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
    return [v if _blocked(v) else _into_blocks(v) for v in (a, b)] if _blocked(a) != _blocked(b) else None


def _keeps_blocks(formula: Formula) -> bool:
    images = [v for v in formula.operands if isinstance(v, Var) and _image(v)]
    return formula.op_type == "Conv" or (formula.op_type in BLOCKED and bool(images) and all(map(_blocked, images)))


def _image(v: Var) -> bool:
    return v.type.shape is not None and v.rank == 4


def _into_blocks(x: Var) -> Var:
    """x by a convolution that leaves its values as they are, and the result in the blocked layout."""
    kernel, _ = _per_channel(x, 1.0, 0.0)
    return op.Conv(x, kernel, group=int(x.shape[1] or 0))


def _fused(x: Var, scale: float, shift: float, activation: str, params: Sequence[float], added: Var | None = None) -> Var:
    """activation(scale · x + shift + added) in the blocked layout."""
    how = {"activation": activation, "activation_params": params, "group": int(x.shape[1] or 0), "kernel_shape": [1, 1]}
    x.tape.imports[MICROSOFT] = 1
    y = x.tape.emit("FusedConv", [x, *_per_channel(x, scale, shift), added], attributes=how, types=[x.type], domain=MICROSOFT)
    x.tape.blocked[y.name] = True
    return y


def _per_channel(x: Var, scale: float, shift: float) -> tuple[Var, Var]:
    """The kernel and the bias that do the same to each channel of x."""
    channels = int(x.shape[1] or 0)
    return x.tape.constant(np.full([channels, 1, 1, 1], scale, np.float32)), x.tape.constant(np.full([channels], shift, np.float32))


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
