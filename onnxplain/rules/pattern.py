"""PatternNet and PatternAttribution: the gradient, with what a neuron detects in the place of how it detects it.

A linear neuron's weights w also have to cancel what distracts from the signal. Its pattern a points to the signal itself,
estimated from how inputs x and output y = wᵀx vary together in a regime r of the neuron (Kindermans et al. 2018, the linear and
the two-component estimator):

    cov  =  E_r[x y] − E_r[x] · E[y]          a  =  cov / wᵀcov

The same holds for every linear operator: Σ m·x over all places where a kernel applies is the operator's own VJP by its weight,
with the mask m of the regime as the cotangent.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..backward import Call
from ..errors import UnsupportedModelError
from ..flow import Flow
from ..graph import Node
from ..ops.linear import _einsum_terms
from ..ops.shapes import cast, filled, in_single, step
from ..tape import Var, op
from .lrp import Rule

REGIMES: dict[str, Callable[[Var], Var]] = {
    "linear": lambda y: filled(y, 1),
    "relu": lambda y: step(y),
    "relu.positive": lambda y: step(y),
    "relu.negative": lambda y: 1 - step(y),
}
"""Where a neuron's output, bias included, counts: 1 or 0."""


@dataclass(frozen=True)
class PatternNet(Rule):
    """The gradient with patterns a for weights: the signal goes back (Kindermans et al. 2018, PatternNet)."""

    patterns: Mapping[Node, np.ndarray]

    def weights(self, w: Var, a: Var) -> Var:
        return a

    def relevance(self, R, f):
        name = f.node.inputs[weight_of(f.flow, f.node)]
        w = f.env[name]
        a = cast(w.tape.weight(f"{name}/pattern", self.patterns[f.node]), w)
        return replace(f, env=ChainMap({name: self.weights(w, a)}, f.env)).vjp(R)  # pyright: ignore[reportArgumentType]  (it is only read)


@dataclass(frozen=True)
class PatternAttribution(PatternNet):
    """The gradient with a ⊙ w for weights: the signal's contributions go back (Kindermans et al. 2018, PatternAttribution)."""

    def weights(self, w: Var, a: Var) -> Var:
        return a * w


def weight_of(flow: Flow, node: Node) -> int:
    """The position of the constant that is a linear layer's weight; −1 where there is no such constant, or more than one."""
    if flow.kind(node) != "linear" or node.operator is None:
        return -1
    others = [k for k, i in enumerate(node.inputs) if i and k != node.operator.bias and i not in flow.active]
    return others[0] if len(others) == 1 and node.inputs[others[0]] in flow.graph.constants else -1


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear layer, and how its weight is made of neurons."""

    flow: Flow
    node: Node
    name: str
    """The weight's."""
    view: tuple[int, ...]
    """A shape of the weight in which …"""
    inner: tuple[int, ...]
    """… these axes run over one neuron's weights."""
    summed: tuple[int, ...]
    """The axes of the output that run over a neuron's applications."""
    order: tuple[int, ...]
    """Where the weight's neuron axes are among the output's other axes."""

    @classmethod
    def of(cls, flow: Flow, node: Node) -> Layer | None:
        """The layer, if its weight is one constant."""
        if (at := weight_of(flow, node)) < 0:
            return None
        name, types = node.inputs[at], flow.graph.types
        y, shape = types[node.outputs[0]].shape, tuple(int(d) for d in flow.graph.constants[name].shape)
        if y is None:
            return None
        places = (0, *range(2, len(y)))
        if node.op_type == "Conv":
            return cls(flow, node, name, shape, tuple(range(1, len(shape))), places, (0,))
        if node.op_type == "ConvTranspose":
            group = node.attributes["group"]
            view = (group, shape[0] // group, *shape[1:])
            return cls(flow, node, name, view, (1, *range(3, len(view))), places, (0,))
        if (letters := _letters(node, at, [len(types[i].shape or ()) for i in node.inputs[:2]], len(y))) is None:
            return None
        mine, out = letters
        kept = [c for c, d in zip(mine, shape) if c in out and d != 1]
        left = [c for c in out if c in kept]
        return cls(
            flow,
            node,
            name,
            shape,
            tuple(k for k, c in enumerate(mine) if c not in kept),
            tuple(k for k, c in enumerate(out) if c not in kept),
            tuple(left.index(c) for c in kept),
        )

    @property
    def shape(self) -> list[int]:
        """One number a neuron, to broadcast over `view`."""
        return [1 if a in self.inner else d for a, d in enumerate(self.view)]

    def neurons(self, v: np.ndarray) -> np.ndarray:
        """What was summed over the applications, as `shape`."""
        return np.squeeze(v, self.summed).transpose(self.order).reshape(self.shape)

    def moments(self, env: Mapping[str, Var], regime: Callable[[Var], Var]) -> dict[str, Var]:
        """Σ m·x and Σ m·x·(y − c) in the weight's shape; for each neuron c, Σ m and Σ (y − c); how many y there are.

        c is y's mean, as far as float32 can say it: the covariance of what is far from zero would be lost in sums of y itself.
        y may keep the neuron's bias, as no covariance hears of what is added to every y.
        """
        node, biased = self.node, _biased(self.flow, self.node)
        known = {n: in_single(env[n]) for n in (*node.inputs, node.outputs[0], biased) if n}
        f = Call(node, known, Flow(self.flow.graph, self.flow.outputs, (self.name,)))  # whose VJP is the one by the weight
        at, places = f.active.index(node.inputs.index(self.name)), list(self.summed)
        c, m = op.ReduceMean(f.y, places, noop_with_empty_axes=1), regime(known[biased])
        x, xy = f.vjp(m)[at], f.vjp(m * (f.y - c))[at]
        assert x is not None
        assert xy is not None
        y, count = (op.ReduceSum(v, places, noop_with_empty_axes=1) for v in (f.y - c, m))
        return {"x": x, "xy": xy, "y": y, "m": count, "c": c, "n": op.Size(f.y)}


def layers(flow: Flow) -> dict[str, list[Layer]]:
    """The linear layers by weight, which is called as in the model's file; all layers that share a weight share its pattern."""
    by_tensor: dict[int, list[Layer]] = {}
    for node in flow.nodes:
        if (layer := Layer.of(flow, node)) is not None:
            by_tensor.setdefault(id(flow.graph.constants[layer.name]), []).append(layer)
    found: dict[str, list[Layer]] = {}
    origins = [flow.graph.constants[same[0].name].meta.get("origin", same[0].name) for same in by_tensor.values()]
    for origin, same in zip(origins, by_tensor.values()):
        first = same[0]
        if any((other.view, other.inner) != (first.view, first.inner) for other in same):
            listed = ", ".join(str(other.node) for other in same)
            raise UnsupportedModelError(
                f"the weight {origin!r} is read in two layouts, and has no one pattern: {listed}. Remedy: explain a tensor between them."
            )
        # One weight that was merged with several normalisations has a pattern for each.
        found[origin if origins.count(origin) == 1 else first.name] = same
    return found


def _letters(node: Node, at: int, ranks: list[int], rank: int) -> tuple[str, str] | None:
    """The axes of the weight and of the output by letter, for a product of two matrices; None for what has no such form."""
    if node.op_type == "Einsum":
        if len(node.inputs) != 2:
            return None
        terms, out = _einsum_terms(node.attributes["equation"], ranks, rank)
        return (terms[at], out) if len(set(terms[at])) == len(terms[at]) else None
    left, right = "ab"[-ranks[0] :], "bc"[: ranks[1]]
    core = "".join(c for c in left + right if c != "b")
    out = "ZYXWVUTSRQPONMLKJIHGFEDCBA"[: rank - len(core)][::-1] + core
    batch = out[: rank - len(core)]
    mine = (left, right)[at]
    if node.attributes.get(("transA", "transB")[at], 0):
        mine = mine[::-1]
    return batch[len(batch) - max(0, ranks[at] - 2) :] + mine, out


def _biased(flow: Flow, node: Node) -> str:
    """The layer's output with its bias, which may be a node of its own."""
    y, types = node.outputs[0], flow.graph.types
    for user in flow.graph.users.get(y, [])[:2]:
        is_bias = user.op_type == "Add" and not user.domain and any(i in flow.graph.constants for i in user.inputs)
        if is_bias and len(flow.graph.users[y]) == 1 and types[user.outputs[0]].shape == types[y].shape:
            return user.outputs[0]
    return y
