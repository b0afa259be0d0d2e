"""Activations and normalisations that exporters spell out in elementary nodes, recognised as the one operator that they are.

Their nodes may be newer than the emitted opset: what it lacks is spelled out again when the graph is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator

import numpy as np
import onnx_ir as ir

from .registry import attribute, constant, describe, floating, is_op, new_constant, rewrite, take_over


@rewrite
def activations(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """Sigmoid is 1/(1 + exp(−x)), Softsign x/(1 + |x|), Swish x·sigmoid(αx), Mish x·tanh(softplus(x)), Gelu 0.5·x·(1 + erf(x/√2)) or its tanh form,
    HardSwish x·relu6(x + 3)/6 or x·hardsigmoid(x), Relu max(x, 0), or x clipped at 0 alone."""
    for recognise in (_sigmoid, _softsign, _gated, _relu):  # parts before wholes; but a HardSwish's maximum is no Relu
        for node in list(model.graph):
            found = recognise(node) if node.graph is not None else None
            if found is None:
                continue
            op_type, x, attributes, inner = found
            if op_type == "HardSwish" and x.dtype == ir.DataType.DOUBLE:
                continue  # ONNX Runtime has no kernel for it
            if x.shape is None or node.outputs[0].shape is None or len(x.shape) != len(node.outputs[0].shape):
                continue  # a number of higher rank widens the result
            if any(v is not None and v.name in keep for n in (*_producers(inner), node) for v in n.inputs if v is not x):
                continue
            if any(v.is_graph_output() or any(u not in (*_producers(inner), node) for u, _ in v.uses()) for v in inner):
                continue
            new = ir.node(op_type, [x], attributes, name=node.name, num_outputs=1)
            log.append(f"activations: {node.name or node.outputs[0].name} and what leads to it are one {op_type}")
            take_over(model, new, node, _producers(inner))


@rewrite
def guarded_softmax(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """A Where that replaces rows of a Softmax, because they are NaN where everything is masked, guards its input too.

    The values stay as they are; the derivative of those rows becomes zero instead of 0 · NaN.
    """
    for node in list(model.graph):
        if not is_op(node, "Where") or node.inputs[0] is None:
            continue
        for k in (1, 2):
            softmax, casts = _softmax_behind(node.inputs[k])
            if softmax is None or softmax.inputs[0] is None or softmax.inputs[0].dtype is None or not _takes_whole_rows(node.inputs[0], softmax):
                continue
            name, dtype = softmax.outputs[0].name, softmax.inputs[0].dtype.numpy()
            zero = new_constant(model, f"{name}/zero", np.zeros((), dtype))
            operands = [node.inputs[0], zero, softmax.inputs[0]] if k == 2 else [node.inputs[0], softmax.inputs[0], zero]
            guard = ir.node("Where", operands, num_outputs=1)
            again = ir.node("Softmax", [guard.outputs[0]], {a.name: a.value for a in softmax.attributes.values()}, num_outputs=1)
            chain = [guard, again]
            for cast in casts:
                chain.append(ir.node("Cast", [chain[-1].outputs[0]], {a.name: a.value for a in cast.attributes.values()}, num_outputs=1))
            sources = [softmax.inputs[0], softmax.outputs[0], *(c.outputs[0] for c in casts)]
            for new, old in zip(chain, sources):
                describe(new, old, f"{old.name}/guarded")
            model.graph.insert_before(node, chain)
            node.replace_input_with(k, chain[-1].outputs[0])
            log.append(f"guarded_softmax: {softmax.name or name}")


def _takes_whole_rows(condition: ir.Value, softmax: ir.Node) -> bool:
    """Whether a condition is the same all along a row of a Softmax: asked of it whether it is NaN, or without extent on its axis."""
    maker = condition.producer()
    while is_op(maker, "Not"):
        maker = maker.inputs[0].producer() if maker.inputs[0] is not None else None
    if is_op(maker, "IsNaN"):
        return _softmax_behind(maker.inputs[0])[0] is softmax
    rows = softmax.outputs[0].shape
    if rows is None or condition.shape is None:
        return False
    axis = attribute(softmax, "axis", -1) % len(rows) - len(rows)
    return -axis > len(condition.shape) or condition.shape[axis] == 1


def _softmax_behind(value: ir.Value | None) -> tuple[ir.Node | None, list[ir.Node]]:
    """The Softmax that a value is, through Casts; and those."""
    casts: list[ir.Node] = []
    maker = value.producer() if value is not None else None
    while is_op(maker, "Cast"):
        casts.insert(0, maker)
        maker = maker.inputs[0].producer() if maker.inputs[0] is not None else None
    return (maker if is_op(maker, "Softmax") else None), casts


Found = tuple[str, ir.Value, dict, list[ir.Value]]


def _producers(values: list[ir.Value]) -> list[ir.Node]:
    return [n for v in values if (n := v.producer()) is not None]


def _either(node: ir.Node) -> Iterator[tuple[ir.Value, ir.Value]]:
    """The two operands of a commutative node, both ways."""
    a, b = node.inputs[:2]
    if a is not None and b is not None:
        yield a, b
        yield b, a


def _number(value: ir.Value | None) -> float | None:
    array = constant(value) if value is not None and value.is_initializer() else None
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def _is(value: ir.Value | None, number: float) -> bool:
    """Whether a value is this number."""
    got = _number(value)
    return got is not None and _near(got, number)


def _near(got: float, number: float) -> bool:
    """Whether this is the number; one that no float is exactly may have been cut short, or rounded to 16 bits."""
    return math.isclose(got, number, rel_tol=0 if number == float(np.float16(number)) else 1e-3)


def _relu(node: ir.Node) -> Found | None:
    pairs: list = []
    if is_op(node, "Max") and len(node.inputs) == 2:
        pairs = list(_either(node))
    elif is_op(node, "Clip") and (len(node.inputs) < 3 or node.inputs[2] is None):
        pairs = [tuple(node.inputs[:2])] if len(node.inputs) > 1 else []
    return next((("Relu", x, {}, []) for x, least in pairs if _is(least, 0) and floating(x)), None)


def _sigmoid(node: ir.Node) -> Found | None:
    total = node.inputs[1] if is_op(node, "Div") and _is(node.inputs[0], 1) else node.inputs[0] if is_op(node, "Reciprocal") else None
    if total is not None and is_op(total.producer(), "Add"):
        for power, one in _either(total.producer()):
            if _is(one, 1) and is_op(power.producer(), "Exp"):
                negated = power.producer().inputs[0]
                if (x := _negated(negated.producer())) is not None:
                    return "Sigmoid", x, {}, [total, power, negated]
    return None


def _negated(node: ir.Node | None) -> ir.Value | None:
    """What the node negates, scikit-learn's way too."""
    if node is not None and is_op(node, "Mul"):
        return next((x for x, number in _either(node) if _is(number, -1)), None)
    return node.inputs[0] if node is not None and is_op(node, "Neg") else None


def _softsign(node: ir.Node) -> Found | None:
    x, total = node.inputs[:2] if is_op(node, "Div") else (None, None)
    if x is not None and total is not None and is_op(total.producer(), "Add"):
        for size, one in _either(total.producer()):
            if _is(one, 1) and is_op(size.producer(), "Abs") and size.producer().inputs[0] is x:
                return "Softsign", x, {}, [total, size]
    return None


def _gated(node: ir.Node) -> Found | None:
    """x times a gate that depends on x alone, and a number: in any order, the number as a factor or as what is divided by."""
    number, factors, inner = _product(node) or (0.0, [], [])
    if len(factors) == 2:
        for x, gate in (factors, factors[::-1]):
            maker = gate.producer()
            for op_type, share, read in GATES:
                if maker is not None and _near(number, share) and (found := read(maker, x)) is not None:
                    return op_type, x, found[0], [*inner, gate, *found[1]]
    return None


Gate = tuple[dict, list[ir.Value]]
"""The attributes of the operator, and the values between x and the gate."""


def _sigmoid_of(gate: ir.Node, x: ir.Value) -> Gate | None:
    inner = gate.inputs[0] if is_op(gate, "Sigmoid") else None
    if inner is x:
        return {}, []
    if inner is not None and is_op(inner.producer(), "Mul"):
        for a, alpha in _either(inner.producer()):
            if a is x and (steepness := _number(alpha)) is not None:
                return {"alpha": steepness}, [inner]
    return None


def _tanh_of_softplus(gate: ir.Node, x: ir.Value) -> Gate | None:
    inner = gate.inputs[0] if is_op(gate, "Tanh") else None
    if inner is not None and is_op(inner.producer(), "Softplus") and inner.producer().inputs[0] is x:
        return {}, [inner]
    return None


def _hard_sigmoid_of(gate: ir.Node, x: ir.Value) -> Gate | None:
    if is_op(gate, "HardSigmoid") and gate.inputs[0] is x:
        slope, middle = attribute(gate, "alpha", 0.2), attribute(gate, "beta", 0.5)
        return ({}, []) if _near(slope, 1 / 6) and middle == 0.5 else None
    return None


def _clip_of(gate: ir.Node, x: ir.Value) -> Gate | None:
    raised, inner = _zero_to_six(gate)
    if raised is not None and is_op(raised.producer(), "Add") and any(a is x and _is(b, 3) for a, b in _either(raised.producer())):
        return {}, [*inner, raised]
    return None


def _zero_to_six(node: ir.Node) -> tuple[ir.Value | None, list[ir.Value]]:
    """What the node keeps between 0 and 6, if it does, and the value between the two limits."""
    if is_op(node, "Clip") and len(node.inputs) == 3 and _number(node.inputs[1]) == 0 and _is(node.inputs[2], 6):
        return node.inputs[0], []
    limits = {"Max": 0.0, "Min": 6.0}
    for outer, inner in (("Min", "Max"), ("Max", "Min")):
        for v, limit in _either(node) if is_op(node, outer) and len(node.inputs) == 2 else ():
            maker = v.producer()
            for x, other in _either(maker) if maker is not None and is_op(maker, inner) and len(maker.inputs) == 2 else ():
                if _is(limit, limits[outer]) and _is(other, limits[inner]):
                    return x, [v]
    return None, []


def _bell_of(gate: ir.Node, x: ir.Value) -> Gate | None:
    """1 + erf(x/√2)."""
    for bell, one in _either(gate) if is_op(gate, "Add") else ():
        scaled = bell.producer().inputs[0] if _is(one, 1) and is_op(bell.producer(), "Erf") else None
        if scaled is None:
            continue
        maker = scaled.producer()
        divided = is_op(maker, "Div") and maker.inputs[0] is x and _is(maker.inputs[1], math.sqrt(2))
        if divided or (is_op(maker, "Mul") and any(a is x and _is(b, 1 / math.sqrt(2)) for a, b in _either(maker))):
            return {}, [bell, scaled]
    return None


def _flatter_bell_of(gate: ir.Node, x: ir.Value) -> Gate | None:
    """1 + tanh(√(2/π)(x + 0.044715 x³))."""
    for bell, one in _either(gate) if is_op(gate, "Add") else ():
        within: list[ir.Value] = []
        if _is(one, 1) and is_op(bell.producer(), "Tanh") and _is_cubic(bell.producer().inputs[0], x, within):
            return {"approximate": "tanh"}, [bell, *within]
    return None


GATES: list[tuple[str, float, Callable[[ir.Node, ir.Value], Gate | None]]] = [
    ("Swish", 1, _sigmoid_of),
    ("Mish", 1, _tanh_of_softplus),
    ("HardSwish", 1, _hard_sigmoid_of),
    ("HardSwish", 1 / 6, _clip_of),
    ("Gelu", 0.5, _bell_of),
    ("Gelu", 0.5, _flatter_bell_of),
]
"""Operator, the number in its product, and what tells its gate."""


def _product(node: ir.Node) -> tuple[float, list[ir.Value], list[ir.Value]] | None:
    """Nested products, and quotients by numbers: all numbers as one, the other factors, and the products inside."""
    number, factors, inner, values = 1.0, [], [], node.inputs
    if is_op(node, "Div") and (by := _number(node.inputs[1])):
        number, values = 1 / by, node.inputs[:1]
    elif not is_op(node, "Mul"):
        return None
    for v in [v for v in values if v is not None]:
        maker = v.producer()
        if (more := _number(v)) is not None:
            number *= more
        elif maker is not None and len(v.uses()) == 1 and not _is_power(v) and (deeper := _product(maker)) is not None:
            number, factors, inner = number * deeper[0], factors + deeper[1], [*inner, v, *deeper[2]]
        else:
            factors.append(v)
    return number, factors, inner


def _is_power(value: ir.Value) -> bool:
    maker = value.producer()
    return is_op(maker, "Mul") and maker.inputs[0] is maker.inputs[1]


def _is_cubic(value: ir.Value, x: ir.Value, within: list[ir.Value]) -> bool:
    """√(2/π)·(x + 0.044715·x³), checked by its value at three numbers."""
    points = np.array([-1.3, 0.4, 2.1])
    try:
        got = _evaluate(value, x, points, within)
    except KeyError:
        return False
    return bool(np.allclose(got, math.sqrt(2 / math.pi) * (points + 0.044715 * points**3), rtol=1e-3))


ARITHMETIC = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power}


def _evaluate(value: ir.Value, x: ir.Value, at: np.ndarray, within: list[ir.Value]) -> np.ndarray:
    """An arithmetic expression of x and numbers; KeyError for anything else."""
    if value is x:
        return at
    number = _number(value)
    if number is not None:
        return np.full_like(at, number)
    maker = value.producer()
    if maker is None or len(within) > 12 or not is_op(maker, *ARITHMETIC):
        raise KeyError(value.name)
    within.append(value)
    return ARITHMETIC[maker.op_type](*(_evaluate(v, x, at, within) for v in maker.inputs))
