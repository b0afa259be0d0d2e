"""The one reverse sweep. From method to method only the rule changes with which each node answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from .checks import is_list
from .errors import InputError, UnsupportedModelError, told
from .flow import Flow
from .graph import Graph, Node, reads
from .ops.shapes import SINGLE, cast, in_single, is_half, typed, unbroadcast, zeros
from .tape import Var, op

Cotangent = Var | None
Rule = Callable[[Var, "Call"], Sequence[Cotangent]]
"""A rule gets what arrived at the output and the call, and answers what to send to each active input."""
Rules = Callable[[Flow, Node], Rule]
"""Which rule a node takes."""


@dataclass(frozen=True, eq=False)
class Call:
    """A node at the point where the model was evaluated: the `f` of the rules."""

    node: Node
    env: Mapping[str, Var]
    flow: Flow
    elsewhere: Mapping[str, Var] | None = None

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return self.node.sources

    @cached_property
    def inputs(self) -> tuple[Var | None, ...]:
        return tuple(self.env[i] if i else None for i in self.sources)

    @cached_property
    def outputs(self) -> tuple[Var | None, ...]:
        return tuple(self.env[o] if o else None for o in self.node.outputs)

    @cached_property
    def active(self) -> tuple[int, ...]:
        """Positions of the inputs that depend on the tensors which are attributed to."""
        return tuple(k for k, i in enumerate(self.sources) if i in self.flow.active)

    @property
    def names(self) -> list[str]:
        """The names of the active inputs."""
        return [self.sources[k] for k in self.active]

    @cached_property
    def reference(self) -> Call:
        """The same node at the point that is compared with."""
        assert self.elsewhere is not None, "the sweep was given no reference"
        return replace(self, env=self.elsewhere, elsewhere=None)

    @property
    def wide(self) -> Call:
        """The same with 16-bit numbers as float32."""
        return replace(self, env=_Wide(self.env), elsewhere=None if self.elsewhere is None else _Wide(self.elsewhere))

    @property
    def maker(self) -> Call:
        """The node that makes the first active input."""
        return Call(self.flow.graph.producer[self.names[0]], self.env, self.flow, self.elsewhere)

    @property
    def x(self) -> list[Var]:
        """The active inputs."""
        return [v for i in self.active if (v := self.inputs[i]) is not None]

    @property
    def y(self) -> Var:
        """The first output."""
        assert self.outputs[0] is not None
        return self.outputs[0]

    def vjp(self, g: Var | Sequence[Cotangent]) -> list[Cotangent]:
        """Pull the cotangent back to the active inputs: the gradient's own rule."""
        given = tuple(g) if isinstance(g, (tuple, list)) else (g, *(None for _ in self.outputs[1:]))
        # Integers on the way are quantised real numbers: the formulas see them as such.
        real = next(d for d in given if d is not None)
        inputs = [v if v is None or v.type.is_float or i not in self.active else cast(v, real) for i, v in enumerate(self.inputs)]
        outputs = tuple(v if d is None or v is None or v.type.is_float else cast(v, real) for d, v in zip(given, self.outputs))
        return self._pull(given, outputs, inputs)

    def _pull(self, given: Sequence[Cotangent], outputs: Sequence[Var | None], inputs: Sequence[Var | None]) -> list[Cotangent]:
        operator = self.node.operator
        assert operator is not None
        attributes = dict(self.node.attributes)
        if operator.kind == "control":
            attributes["active"] = self.active
        if self.node in self.flow.final:
            attributes["saturates"] = False
        answer = operator.vjp(*((given, outputs) if operator.many else (given[0], outputs[0])), *inputs, **attributes)
        pulled: list[Cotangent] = []
        for i in self.active:
            d, x = answer[i], inputs[i]
            d = d() if callable(d) else d
            pulled.append(None if d is None or x is None else typed(unbroadcast(cast(d, x), x), x))
        return pulled

    # ---- for rules that change what the layer is: the layer at other inputs, with other parameters ----

    def __call__(self, x: Sequence[Var | None], m: Map | None = None, *, bias: bool = True) -> Part | None:
        """The layer at `x`, with `m` applied to its parameters; None for a part that is zero because its inputs are."""
        if self.node.op_type == "BatchNormalization":
            return self._affine(x[0], m or _same, bias)
        operator = self.node.operator
        assert operator is not None
        at = operator.bias if self.flow.kind(self.node) == "linear" else None
        has_bias = bias and at is not None and len(self.inputs) > at and self.inputs[at] is not None
        added = self.flow.bias(self.node) if bias else None
        if all(v is None for v in x):
            whole = self._bias(m or _same) if has_bias else (m or _same)(self.env[added]) if added is not None else None
            return Part(x, whole, None) if whole is not None else None
        inputs: list[Var | None] = list(self.inputs)
        bare = len(self.active) == sum(v is not None and v.type.is_float for v in self.inputs)  # sums and averages: the weights are ones
        scale: list[Var | None] = []
        for k, v, own in zip(self.active, x, self.x):
            scale.append(self._mapped(m, k, own.tape.constant(1.0, own)) if m is not None and bare else None)
            inputs[k] = _times(v if v is not None else zeros(own), scale[-1])
        for k, v in enumerate(self.inputs):
            if k not in self.active and m is not None and v is not None and v.type.is_float:
                inputs[k] = self._mapped(m, k, v)
        if at is not None and not has_bias and len(inputs) > at:
            inputs[at] = None
        y = self.node(*inputs)
        z = y[0] if isinstance(y, tuple) else y
        z = z if added is None else z + (m or _same)(self.env[added])
        at_x = [self.inputs[k] if k in self.active else v for k, v in enumerate(inputs)]
        return Part(x, typed(z, self.y), lambda s: [_times(d, c) if d is not None else None for d, c in zip(self._pull((s,), (self.y,), at_x), scale)])

    def _mapped(self, m: Map, k: int, v: Var) -> Var:
        """m applied to a parameter as the layer uses it: times Gemm's alpha and beta, or Sub's sign."""
        name = "beta" if k == 2 else "alpha"
        c = self.node.attributes.get(name, 1.0) if self.node.op_type == "Gemm" else -1.0 if self.node.op_type == "Sub" and k == 1 else 1.0
        return m(v) if c in (0, 1) else m(v * c) / c

    def _affine(self, x: Var | None, m: Map, bias: bool) -> Part | None:
        """Batch normalisation as the linear layer k·x + c that it is, once it is trained."""
        if self.node.attributes.get("training_mode"):
            raise UnsupportedModelError(f"{self.node} is in training mode, where it is no linear layer. Remedy: export the model for inference.")
        _, scale, shift, mean, var = (v for v in self.inputs[:5])
        assert scale is not None and shift is not None and mean is not None and var is not None
        k = scale / op.Sqrt(var + self.node.attributes.get("epsilon", 1e-5))
        channel = [1, -1, *[1] * (self.y.rank - 2)]
        slope, offset = m(op.Reshape(k, channel)), m(op.Reshape(shift - mean * k, channel))
        if x is None:
            return Part([x], offset, None) if bias else None
        return Part([x], slope * x + offset if bias else slope * x, lambda s: [s * slope])

    def _bias(self, m: Map) -> Var:
        at = self.node.operator.bias if self.node.operator else None
        assert at is not None
        b = self.inputs[at]
        assert b is not None
        if self.node.op_type == "Gemm":
            return self._mapped(m, at, b) * self.node.attributes.get("beta", 1.0)
        return op.Reshape(m(b), [1, -1, *[1] * (self.y.rank - 2)])

    @property
    def pos(self) -> list[Var]:
        """The positive parts of the active inputs."""
        return [x if n in self.flow.nonnegative else op.Max(x, 0) for n, x in zip(self.names, self.x)]

    @property
    def neg(self) -> list[Var | None]:
        """Their negative parts; None for what cannot be negative."""
        return [None if n in self.flow.nonnegative else op.Min(x, 0) for n, x in zip(self.names, self.x)]


class _Wide(Mapping):
    """Values by name, 16-bit ones cast to float32 when they are asked for."""

    def __init__(self, env: Mapping[str, Var]) -> None:
        self.env = env

    def __getitem__(self, name: str) -> Var:
        return in_single(self.env[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.env)

    def __len__(self) -> int:
        return len(self.env)


def single(g: Var | Sequence[Cotangent], f: Call) -> tuple[Any, Call]:
    """What arrived and the call, in float32 where the node computes in 16 bits: these swallow stabilisers and small squares."""
    if not is_half(f.y) or isinstance(f, Region):
        return g, f
    wide = [d if d is None else cast(d, SINGLE) for d in (g if isinstance(g, (tuple, list)) else [g])]
    return wide if isinstance(g, (tuple, list)) else wide[0], f.wide


Map = Callable[[Var], Var]


def _same(w: Var) -> Var:
    return w


def _times(v: Var, c: Var | None) -> Var:
    return v if c is None else v * c


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a layer: its inputs, its output, and what carries a cotangent of the output back."""

    x: Sequence[Var | None]
    z: Var
    pull: Callable[[Var], Sequence[Cotangent]] | None


@dataclass(frozen=True, eq=False)
class Region(Call):
    """Connected nodes as one call, from what enters them to what the last one, `node`, makes."""

    nodes: Collection[Node] = ()

    @cached_property
    def graph(self) -> Graph:
        whole, own = self.flow.graph, [n for n in self.flow.graph.nodes if n in self.nodes]
        made = {o for n in own for o in n.outputs}
        entering = dict.fromkeys(i for n in own for i in reads(n) if i not in made and i not in whole.constants)
        types = whole.types
        return Graph({i: types[i] for i in entering}, {o: types[o] for o in self.node.outputs if o}, own, whole.constants, types)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        return tuple(self.graph.inputs)

    def vjp(self, g: Var | Sequence[Cotangent]) -> list[Cotangent]:
        given = g if isinstance(g, (tuple, list)) else [g]
        return self._sweep(self.env, {o: d for o, d in zip(self.node.outputs, given) if d is not None})

    def _sweep(self, env: Mapping[str, Var], seeds: Mapping[str, Var]) -> list[Cotangent]:
        reached = backward(Flow(self.graph, tuple(seeds), tuple(self.names)), env, seeds)
        return [reached[n] for n in self.names]

    def __call__(self, x: Sequence[Var | None], m: Map | None = None, *, bias: bool = True) -> Part | None:
        if m is not None or not bias or any(v is None for v in x):
            raise UnsupportedModelError(
                f"the rule for the region that ends in {self.node} changes parameters, and a region of {len(self.nodes)} nodes has no one set of them. "
                "Remedy: give its layers rows of their own, or the region a rule such as epsilon, norm, pass or gradient."
            )
        given = {n: self.env[n] for n in self.sources} | {n: v for n, v in zip(self.names, x) if v is not None}
        env = self.graph.write(self.y.tape, given, prefix=f"at{len(self.y.tape.nodes)}/")
        return Part(x, env[self.node.outputs[0]], lambda s: self._sweep(env, {self.node.outputs[0]: s}))


@dataclass(frozen=True, eq=False)
class Joint:
    """A rule that answers for connected nodes at once, when the last of them is asked."""

    rule: Rule
    nodes: Collection[Node]

    def __call__(self, R: Var, f: Call) -> Sequence[Cotangent]:
        return self.rule(R, f)


def gradient(g: Var | Sequence[Cotangent], f: Call) -> Sequence[Cotangent]:
    """The rule that every other one replaces."""
    return f.vjp(g)


def refuse(nodes: Sequence[Node], what: str) -> None:
    """Name every node without a rule, and what helps."""
    if nodes:
        listed = "; ".join(f"{n} ({n.why})" if n.why else str(n) for n in nodes[:20]) + (f"; and {len(nodes) - 20} more" if len(nodes) > 20 else "")
        remedy = "explain a tensor behind them (wrt=…) or before them (output=…), or re-export the model with standard ai.onnx operators"
        raise UnsupportedModelError(f"{what} has no rule for {len(nodes)} node{'s' * (len(nodes) > 1)}: {listed}. Remedy: {remedy}.")


def _region(nodes: Collection[Node], last: Node, env: Mapping[str, Var], flow: Flow, reference: Mapping[str, Var] | None) -> Region:
    """The nodes as one call; refused where something beside them reads what is theirs."""
    if (outsider := flow.outsider(nodes, last)) is not None:
        raise UnsupportedModelError(
            f"the region that ends in {last} is not closed: {outsider} is beside it and reads from its inside. Remedy: match these nodes too, or fewer."
        )
    return Region(last, env, flow, reference, nodes)


def backward(
    flow: Flow,
    env: Mapping[str, Var],
    seeds: Mapping[str, Var],
    rules: Rules = lambda flow, node: gradient,
    reference: Mapping[str, Var] | None = None,
    watch: Callable[[Call, Sequence[Cotangent], Sequence[Cotangent]], None] | None = None,
) -> dict[str, Var]:
    """Carry `seeds` (output → what it starts with) down to the flow's tensors, asking `rules(flow, node)` at each node on the way.

    What reaches a value from several users is summed; a tensor that nothing reaches gets zeros. `reference` is the model at
    another point, for rules that compare; `watch(f, arrived, answers)` is told of every step.
    """
    refuse(flow.missing, "the backward sweep")
    carried: dict[str, Var] = dict(seeds)
    for node in reversed(flow.nodes):
        arrived = [carried.get(o) for o in node.outputs]
        many = node.operator is not None and node.operator.many
        if all(g is None for g in arrived):
            continue
        if not many and (unheard := next((o for o, g in zip(node.outputs[1:], arrived[1:]) if g is not None), None)) is not None:
            raise UnsupportedModelError(
                f"{node} has a rule for its first output only, and {unheard!r} matters too. Remedy: explain a tensor behind it (wrt=…)."
            )
        rule = rules(flow, node)
        f = _region(rule.nodes, node, env, flow, reference) if isinstance(rule, Joint) else Call(node, env, flow, reference)
        answers = rule(arrived if any(g is not None for g in arrived[1:]) else arrived[0], f)
        if not is_list(answers) or len(answers) != len(f.active):
            got = f"{len(answers)} values" if is_list(answers) else told(type(answers).__name__)
            raise InputError(f"the rule at {node} answered {got}: wanted a list, with a tensor or None for each of its {len(f.active)} active inputs")
        if watch is not None:
            watch(f, arrived, answers)
        for k, r in zip(f.active, answers, strict=True):
            if r is not None:
                name = f.sources[k]
                r = cast(r, env[name]) if is_half(env[name]) else r
                carried[name] = carried[name] + r if name in carried else r
    return {name: typed(carried[name], env[name]) if name in carried else zeros(env[name]) for name in flow.wrt}
