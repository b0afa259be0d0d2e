"""Layer, RMS and group normalisation that exporters spell out, recognised as the one operator that each is."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx_ir as ir

from .registry import attribute, constant, is_op, names_parameter, new_constant, per_channel, rewrite, sole_user, take_over, trailing


@rewrite
def layer_norm(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """(x − mean) / √(variance + ε), times a constant, plus a constant, over the last axes is LayerNormalization; without the mean RMSNormalization."""
    for node in list(model.graph):
        found = _standardised(node) or _by_statistics(node)
        if found is None:
            continue
        op_type, x, epsilon, extents, inner = found
        makers = [n for v in inner if (n := v.producer()) is not None]
        if any(v.name in keep or v.is_graph_output() or any(u not in (*makers, node) for u, _ in v.uses()) for v in inner):
            continue
        last, scale, shift = node, np.ones(extents, x.dtype.numpy() if x.dtype is not None else np.float32), None
        user = sole_user(node.outputs[0], keep)
        if is_op(user, "Mul") and (given := _along(user, node.outputs[0], extents)) is not None and not _named(user, keep):
            last, scale = user, given
            user = sole_user(last.outputs[0], keep)
        if op_type == "LayerNormalization" and is_op(user, "Add") and (given := _along(user, last.outputs[0], extents)) is not None and not _named(user, keep):
            last, shift = user, given
        name = node.outputs[0].name
        parameters = [new_constant(model, f"{name}/{k}", v) for k, v in (("scale", scale), ("shift", shift)) if v is not None]
        new = ir.node(op_type, [x, *parameters], {"axis": -len(extents), "epsilon": epsilon}, name=node.name, num_outputs=1)
        log.append(f"layer_norm: {node.name or name} and what is around it are one {op_type}")
        take_over(model, new, last, [*_chain(node, last)[::-1], *makers])


@rewrite
def group_norm(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """InstanceNormalization of groups that are laid out as channels, times a constant for each channel, plus another, is GroupNormalization."""
    for node in list(model.graph):
        found = _grouped(node, keep)
        if found is None:
            continue
        x, groups, channels, split, last = found
        each = [np.repeat(v, channels // groups) for v in (constant(node.inputs[1]), constant(node.inputs[2])) if v is not None]
        back, (scale, shift) = last, each
        for op_type in ("Mul", "Add"):
            user = sole_user(last.outputs[0], keep)
            given = per_channel(_beside(user, last.outputs[0]), x) if is_op(user, op_type) and not _named(user, keep) else None
            if given is not None:
                last = user
                scale, shift = (scale * given, shift * given) if op_type == "Mul" else (scale, shift + given)
        name = back.outputs[0].name
        parameters = [new_constant(model, f"{name}/{k}", v.astype(each[0].dtype)) for k, v in (("scale", scale), ("shift", shift))]
        attributes = {"num_groups": groups, "epsilon": attribute(node, "epsilon", 1e-5)}
        new = ir.node("GroupNormalization", [x, *parameters], attributes, name=node.name, num_outputs=1)
        log.append(f"group_norm: {node.name or name} and what is around it are one GroupNormalization")
        take_over(model, new, last, [*_chain(back, last)[::-1], node, split])


def _grouped(node: ir.Node, keep: Collection[str]) -> tuple[ir.Value, int, int, ir.Node, ir.Node] | None:
    """x, the numbers of its groups and channels, and the nodes that lay them out and put them back, where this one normalises [N, groups, the rest]."""
    split = node.inputs[0].producer() if is_op(node, "InstanceNormalization") and node.inputs[0] is not None else None
    if (
        split is None
        or not is_op(split, "Reshape")
        or sole_user(split.outputs[0], keep) is None
        or names_parameter(node, keep)
        or any(constant(v) is None for v in node.inputs[1:])
    ):
        return None
    x, groups, back = split.inputs[0], split.outputs[0].shape, sole_user(node.outputs[0], keep)
    if x is None or x.shape is None or groups is None or len(x.shape) < 3 or len(groups) != 3 or back is None or not is_op(back, "Reshape"):
        return None
    to, final = constant(split.inputs[1]), back.outputs[0].shape
    # As many elements as x has: where all extents but one are x's, so is that one.
    restored = _asks(back.inputs[1], x) or (final is not None and len(final) == len(x.shape) and sum(map(_same, final, x.shape)) >= len(final) - 1)
    by_sample = (to is not None and to[0] == 0) or _same(groups[0], x.shape[0])
    channels, n = x.shape[1], groups[1]
    if back.inputs[0] is not node.outputs[0] or not restored or not by_sample or not isinstance(channels, int) or not isinstance(n, int) or channels % n:
        return None
    return x, n, channels, split, back


def _same(a: int | ir.SymbolicDim, b: int | ir.SymbolicDim) -> bool:
    """Whether two extents are known to be equal."""
    return a == b and (isinstance(a, int) or a.value is not None)


def _standardised(node: ir.Node) -> tuple[str, ir.Value, float, list[int], list[ir.Value]] | None:
    """The operator, x, ε, the extents of the normalised axes and the values inside, where the node divides by a deviation."""
    divided = _divided(node)
    if divided is None:
        return None
    u, root, inner = divided
    total = root.producer().inputs[0] if is_op(root.producer(), "Sqrt") else None
    if total is None or not is_op(total.producer(), "Add"):
        return None
    a, b = total.producer().inputs
    variance, epsilon = (a, constant(b)) if constant(b) is not None else (b, constant(a))
    found = _spread(variance, u) if epsilon is not None and epsilon.size == 1 and variance is not None else None
    if found is None:
        return None
    extents, within = found
    inner += [root, total, variance, *within]
    if is_op(u.producer(), "Sub"):
        x, mean = u.producer().inputs
        if x is not None and mean is not None and _mean_of(mean, x) == extents:
            return "LayerNormalization", x, float(epsilon.reshape(-1)[0]), extents, [*inner, u, mean]
    return "RMSNormalization", u, float(epsilon.reshape(-1)[0]), extents, inner


def _by_statistics(node: ir.Node) -> tuple[str, ir.Value, float, list[int], list[ir.Value]] | None:
    """The same where a BatchNormalization is told the statistics of [1, rows, C, 1], which the node lays out like x again, as Keras has it."""
    normed, shape = node.inputs[:2] if is_op(node, "Reshape") else (None, None)
    norm = normed.producer() if normed is not None else None
    if normed is None or norm is None or not is_op(norm, "BatchNormalization") or attribute(norm, "training_mode", 0):
        return None
    rows, scale, shift, mean, variance = norm.inputs
    if rows is None or mean is None or variance is None or rows.shape is None or rows.shape[0] != 1 or not _all(scale, 1) or not _all(shift, 0):
        return None
    x, back = _source(rows, "Reshape"), shape
    while (inner := _source(back, "Cast")) is not None:
        back = inner
    if x is None or x.shape is None or not _asks(back, x):
        return None
    axes = [0, *range(2, len(rows.shape))]
    together = _product([rows.shape[a] for a in axes])
    extents = next(([int(d) for d in x.shape[k:]] for k in range(len(x.shape) - 1, 0, -1) if together is not None and _product(x.shape[k:]) == together), None)
    centre, squares = _source(mean, "Squeeze"), _source(variance, "Div")
    less = _source(squares, "ReduceSumSquare")
    if extents is None or centre is None or squares is None or less is None or not _all(variance.producer().inputs[1], together):
        return None
    if (
        sorted(_axes(centre, rows, "ReduceMean") or ()) != axes
        or sorted(_axes(squares, less, "ReduceSumSquare") or ()) != axes
        or _source(less, "Sub") is not rows
        or less.producer().inputs[1] is not centre
    ):
        return None
    return "LayerNormalization", x, attribute(norm, "epsilon", 1e-5), extents, [normed, rows, mean, centre, variance, squares, less]


def _all(value: ir.Value | None, number: float | None) -> bool:
    """Whether a value, or what is expanded to it, is one number throughout."""
    array = constant(_source(value, "Expand") or value)
    return array is not None and number is not None and bool((array == number).all())


def _source(value: ir.Value | None, op_type: str) -> ir.Value | None:
    """The first operand of what makes a value, if that is such a node."""
    maker = value.producer() if value is not None else None
    return maker.inputs[0] if maker is not None and is_op(maker, op_type) else None


def _product(extents: Sequence) -> int | None:
    return int(np.prod(extents)) if all(isinstance(d, int) for d in extents) else None


def _axes(reduced: ir.Value | None, x: ir.Value | None, op_type: str) -> list[int] | None:
    """The axes, as the node says them, that a value is a reduction of x over."""
    if x is None or reduced is None or _source(reduced, op_type) is not x or len(reduced.producer().inputs) < 2:
        return None
    axes = constant(reduced.producer().inputs[1])
    return None if axes is None else [int(a) for a in axes.reshape(-1)]


def _asks(shape: ir.Value | None, x: ir.Value) -> bool:
    """Whether a value is the whole shape of x."""
    return _source(shape, "Shape") is x and not shape.producer().attributes  # pyright: ignore[reportOptionalMemberAccess]  (it has a source)


def _spread(variance: ir.Value, u: ir.Value) -> tuple[list[int], list[ir.Value]] | None:
    """Of the mean of u²: the extents of the axes that it is taken along, and the values inside. For u = x − mean also as E[x²] − mean², not below 0."""
    maker, inner = variance.producer(), []
    if is_op(maker, "Max") and len(maker.inputs) == 2:
        cut = next((v for v, zero in (maker.inputs, maker.inputs[::-1]) if (c := constant(zero)) is not None and c.size == 1 and not c.any()), None)
        maker, inner = (cut.producer(), [cut]) if cut is not None else (None, [])
    second, of, less = variance, u, None
    if is_op(maker, "Sub") and is_op(u.producer(), "Sub"):
        (second, less), (of, mean) = maker.inputs, u.producer().inputs
        if second is None or less is None or of is None or mean is None or not _is_square(less.producer(), mean):
            return None
        inner += [second, less]
    elif inner:
        return None
    square = second.producer().inputs[0] if is_op(second.producer(), "ReduceMean") else None
    extents = _mean_of(second, square)
    return (extents, [*inner, square]) if square is not None and extents is not None and _is_square(square.producer(), of) else None


def _divided(node: ir.Node) -> tuple[ir.Value, ir.Value, list[ir.Value]] | None:
    """What is divided by what, by one node or as a product with a reciprocal, which is a value inside."""
    u, v = node.inputs[:2] if len(node.inputs) == 2 else (None, None)
    if u is None or v is None:
        return None
    if is_op(node, "Div"):
        return u, v, []
    if is_op(node, "Mul"):
        for a, b in ((u, v), (v, u)):
            maker = b.producer()
            if is_op(maker, "Reciprocal") and maker.inputs[0] is not None:
                return a, maker.inputs[0], [b]
            one = constant(maker.inputs[0]) if is_op(maker, "Div") else None
            if one is not None and one.size == 1 and float(one.reshape(-1)[0]) == 1 and maker.inputs[1] is not None:
                return a, maker.inputs[1], [b]
    return None


def _mean_of(mean: ir.Value | None, x: ir.Value | None) -> list[int] | None:
    """The extents of the last axes, if the value is x's mean over them."""
    axes = _axes(mean, x, "ReduceMean")
    if axes is None or mean is None or x is None or x.shape is None or not attribute(mean.producer(), "keepdims", 1):
        return None
    rank = len(x.shape)
    if sorted(a % rank for a in axes) != list(range(rank - len(axes), rank)) or len(axes) == rank:
        return None
    extents = list(x.shape)[rank - len(axes) :]
    return [int(d) for d in extents] if all(isinstance(d, int) for d in extents) else None


def _is_square(node: ir.Node | None, x: ir.Value) -> bool:
    if is_op(node, "Pow"):
        power = constant(node.inputs[1])
        return node.inputs[0] is x and power is not None and power.size == 1 and float(power.reshape(-1)[0]) == 2
    return is_op(node, "Mul") and node.inputs[0] is x and node.inputs[1] is x


def _beside(node: ir.Node, value: ir.Value) -> np.ndarray | None:
    """The other operand, if it is a constant."""
    return constant(node.inputs[1] if node.inputs[0] is value else node.inputs[0])


def _along(node: ir.Node, value: ir.Value, extents: list[int]) -> np.ndarray | None:
    """The constant operand beside `value`, as one number for each element that is normalised together."""
    return trailing(_beside(node, value), len(value.shape or ()), extents)


def _named(node: ir.Node, keep: Collection[str]) -> bool:
    return names_parameter(node, keep) or (node.inputs[0] is not None and node.inputs[0].name in keep)


def _chain(first: ir.Node, last: ir.Node) -> list[ir.Node]:
    """The nodes from the first to just before the last, each the only user of the one before."""
    chain = []
    while first is not last:
        chain.append(first)
        first = next(iter(first.outputs[0].uses()))[0]
    return chain
