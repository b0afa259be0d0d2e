"""If, Loop and Scan: their bodies are differentiated by the same sweep, inside an emitted If, Loop or Scan.

The sweep hands over, behind a node's inputs, the outer values that its bodies capture, and in `active` which of all these
lead to the attributed tensors. Loops run once more to keep the states before every step, then backward through the steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir

from ..errors import UnsupportedModelError
from ..tape import Tape, Type, Var, op
from .registry import control
from .shapes import dim, zeros


def _write(body: onnx.GraphProto, given: Mapping[str, Var], tape: Tape):
    """The body written on `tape`, as a Graph and its values by name."""
    from ..graph import Graph, Node  # not at the top: graph.py itself reads the table of operators

    constants = {t.name: ir.serde.deserialize_tensor(t) for t in body.initializer}
    nodes = []
    for node in body.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            constants[node.output[0]] = ir.serde.deserialize_tensor(value)
        else:
            nodes.append(Node(node))
    known = {i.name: Type.of(i.type) for i in body.value_info}  # of the whole model's inference, which may know more
    env = Graph({}, {}, nodes, constants, known).write(tape, given)
    return Graph({}, {}, nodes, constants, {n: v.type for n, v in env.items()}), env


def _pull(body: onnx.GraphProto, given: Mapping[str, Var], seeds: Sequence[Var | None], wrt: Sequence[str], tape: Tape) -> list[Var]:
    """The cotangents of `wrt`, where the body's outputs have those of `seeds`."""
    from ..backward import backward
    from ..flow import Flow

    graph, env = _write(body, given, tape)
    by_name: dict[str, Var] = {}
    for o, g in zip(body.output, seeds):
        if g is not None:
            by_name[o.name] = by_name[o.name] + g if o.name in by_name else g
    pulled = backward(Flow(graph, tuple(by_name), tuple(wrt)), env, by_name)
    return [pulled[n] for n in wrt]


def _captures(outer: Sequence[Var], active: Sequence[int], *bodies: onnx.GraphProto) -> tuple[dict[str, Var], list[str], int]:
    """The captured values by name, the names of those that matter, and the position of the first."""
    from ..graph import captures

    names = captures(*bodies)
    first = len(outer) - len(names)
    return dict(zip(names, outer[first:])), [n for k, n in enumerate(names) if first + k in active], first


def _inside(values: Mapping[str, Var], tape: Tape) -> dict[str, Var]:
    """Outer values as formulas of a body see them."""
    return {n: replace(v, tape=tape) for n, v in values.items()}


def _tape(values: Sequence[Var | None]) -> Tape:
    return max((v.tape for v in values if v is not None), key=lambda t: t.depth)


def _tuple(results) -> tuple[Var, ...]:
    return results if isinstance(results, tuple) else (results,)


def _of_rank(v: Var, more: int = 0) -> Type:
    """The type of v with any extents, and `more` axes."""
    return Type.tensor(v.dtype, None if v.type.shape is None else [None] * (v.rank + more))


def _tensors(values: Sequence[Var | None], y: Sequence[Var | None]) -> None:
    """Refuse what is not a tensor."""
    for v in values:
        if v is not None and v.type.dtype is None:
            name = next(o.name for o in y if o is not None)
            raise UnsupportedModelError(f"the loop that makes {name!r} carries {v.name!r}, which is not a tensor. Remedy: export the model without sequences.")


@control(many=True)
def If(g, y, *sources, then_branch, else_branch, active):
    """Whichever branch ran hands its cotangents on."""
    outer, wrt, _ = _captures(sources, active, then_branch, else_branch)
    tape = _tape([*sources, *g])

    def branch(body: onnx.GraphProto):
        inner = tape.inner()
        return inner.body(_pull(body, _inside(outer, inner), g, wrt, inner), body.name or "branch")

    attributes = {"then_branch": branch(then_branch), "else_branch": branch(else_branch)}
    pulled = dict(zip(wrt, _tuple(tape.emit("If", [sources[0]], len(wrt), attributes, types=[outer[n].type for n in wrt]))))
    return [None, *(pulled.get(n) for n in outer)]


@control(many=True)
def Scan(g, y, *sources, body, num_scan_inputs, active, scan_input_axes=None, scan_output_axes=None, scan_input_directions=None, scan_output_directions=None):
    outer, wrt, first = _captures(sources, active, body)
    tape, inputs = _tape([*sources, *g]), sources[:first]
    count = first - num_scan_inputs
    states, scanned = inputs[:count], inputs[count:]
    axes = [a if a >= 0 else a % v.rank for a, v in zip(scan_input_axes or [0] * len(scanned), scanned)]
    ways = list(scan_input_directions or [0] * len(scanned))
    g_scan = g[count:]
    out_axes = [a if d is None or a >= 0 else a % d.rank for a, d in zip(scan_output_axes or [0] * len(g_scan), g_scan)]
    out_ways = list(scan_output_directions or [0] * len(g_scan))
    names = [i.name for i in body.input]
    slice_type = lambda v, axis: Type.tensor(v.dtype, None if v.type.shape is None else [d for a, d in enumerate(v.shape) if a != axis])
    _tensors(states, y)

    # Once more forward: the states before each step.
    inner = tape.inner()
    now = [inner.input(inner.name(n), _of_rank(v)) for n, v in zip(names, states)]
    seen = [inner.input(inner.name(n), slice_type(v, a)) for n, v, a in zip(names[count:], scanned, axes)]
    _, env = _write(body, {**_inside(outer, inner), **dict(zip(names, [*now, *seen]))}, inner)
    attributes = {"num_scan_inputs": len(scanned), "scan_input_axes": axes, "scan_input_directions": ways}
    again = {**attributes, "body": inner.body([*(env[o.name] for o in body.output[:count]), *now], "again")}
    types = [*(v.type for v in states), *(_of_rank(v, 1) for v in now)]
    before = _tuple(tape.emit("Scan", [*states, *scanned], 2 * count, again, types=types))[count:] if count else ()

    # And backward, every direction turned.
    real = [k for k, v in enumerate(states) if v.type.is_float]
    moved = [k for k, v in enumerate(scanned) if count + k in active]
    told = [k for k, d in enumerate(g_scan) if d is not None]
    inner = tape.inner()
    carried = [g[k] if g[k] is not None else zeros(states[k]) for k in real] + [zeros(outer[n]) for n in wrt]
    d_now = [inner.input(inner.name("d"), _of_rank(v)) for v in carried]
    past = [inner.input(inner.name(n), _of_rank(v)) for n, v in zip(names, states)]
    seen = [inner.input(inner.name(n), slice_type(v, a)) for n, v, a in zip(names[count:], scanned, axes)]
    g_now = {k: inner.input(inner.name("g"), slice_type(g_scan[k], out_axes[k])) for k in told}
    seeds = [None] * count
    for k, d in zip(real, d_now):
        seeds[k] = d
    given = {**_inside(outer, inner), **dict(zip(names, [*past, *seen]))}
    pulled = _pull(
        body, given, [*seeds, *(g_now.get(k) for k in range(len(g_scan)))], [*(names[k] for k in real), *(names[count + k] for k in moved), *wrt], inner
    )
    d_states, d_slices, d_outer = pulled[: len(real)], pulled[len(real) : len(real) + len(moved)], pulled[len(real) + len(moved) :]
    sums = [total + d for total, d in zip(d_now[len(real) :], d_outer)]
    attributes = {
        "body": inner.body([*d_states, *sums, *d_slices], "back"),
        "num_scan_inputs": count + len(scanned) + len(told),
        "scan_input_axes": [0] * count + axes + [out_axes[k] for k in told],
        "scan_input_directions": [1] * count + [1 - w for w in ways] + [1 - out_ways[k] for k in told],
        "scan_output_axes": [axes[k] for k in moved],
        "scan_output_directions": [1 - ways[k] for k in moved],
    }
    attributes = {k: v for k, v in attributes.items() if v != []}
    types = [*(v.type for v in carried), *(scanned[k].type for k in moved)]
    results = _tuple(tape.emit("Scan", [*carried, *before, *scanned, *(g_scan[k] for k in told)], len(types), attributes, types=types))
    answer = dict(zip([*real, *(len(inputs) + list(outer).index(n) for n in wrt), *(count + k for k in moved)], results))
    return [answer.get(k) for k in range(len(sources))]


@control(many=True)
def Loop(g, y, *sources, body, active):
    outer, wrt, first = _captures(sources, active, body)
    tape, inputs = _tape([*sources, *g]), sources[:first]
    (most, condition), states = (*inputs[:2], None, None)[:2], inputs[2:]
    count, names = len(states), [i.name for i in body.input]
    _tensors(states, y)
    scalar = lambda t, name, dtype: t.input(t.name(name), Type.tensor(dtype, []))

    # Once more forward: the states before each step, and how many steps there were.
    inner = tape.inner()
    step, go = scalar(inner, names[0], np.int64), scalar(inner, names[1], np.bool_)
    now = [inner.input(inner.name(n), _of_rank(v)) for n, v in zip(names[2:], states)]
    _, env = _write(body, {**_inside(outer, inner), **dict(zip(names, [step, go, *now]))}, inner)
    after = [env[o.name] for o in body.output[: 1 + count]]
    types = [*map(_of_rank, states), Type.tensor(np.int64, [None]), *(_of_rank(v, 1) for v in states)]
    results = _tuple(tape.emit("Loop", [most, condition, *states], len(types), {"body": inner.body([*after, step, *now], "again")}, types=types))
    steps, before = op.Squeeze(dim(results[count], 0), [0]), results[count + 1 :]

    # And backward, from the last step to the first.
    real = [k for k, v in enumerate(states) if v.type.is_float]
    inner = tape.inner()
    carried = [g[k] if g[k] is not None else zeros(states[k]) for k in real] + [zeros(outer[n]) for n in wrt]
    back, go = scalar(inner, "step", np.int64), scalar(inner, "go", np.bool_)
    d_now = [inner.input(inner.name("d"), _of_rank(v)) for v in carried]
    at = replace(steps, tape=inner) - back - 1
    pick = lambda v: op.Gather(replace(v, tape=inner), at, axis=0)
    seeds = [None] * (1 + count)
    for k, d in zip(real, d_now):
        seeds[1 + k] = d
    given = {**_inside(outer, inner), **dict(zip(names, [at, go, *map(pick, before)]))}
    pulled = _pull(body, given, [*seeds, *(None if d is None else pick(d) for d in g[count:])], [*(names[2 + k] for k in real), *wrt], inner)
    sums = [total + d for total, d in zip(d_now[len(real) :], pulled[len(real) :])]
    backward_body = inner.body([go, *pulled[: len(real)], *sums], "back")
    results = _tuple(tape.emit("Loop", [steps, None, *carried], len(carried), {"body": backward_body}, types=[v.type for v in carried]))
    answer = dict(zip([*(2 + k for k in real), *(len(inputs) + list(outer).index(n) for n in wrt)], results))
    return [answer.get(k) for k in range(len(sources))]
