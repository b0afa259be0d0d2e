"""DeepLIFT: multipliers m say how a difference Δy from the reference is owed to the differences Δx of the inputs.

Linear nodes pass multipliers back as gradients; a nonlinear one answers so that Σ m_x·Δx = Σ m_y·Δy. In the rules `f` is the
node at the input and `f.reference` the node at the reference (Shrikumar, Greenside and Kundaje 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..backward import Call, Cotangent, Part, Rule, gradient, single
from ..errors import UnsupportedModelError
from ..flow import Flow
from ..graph import Node
from ..ops.shapes import cast, unbroadcast
from ..tape import Var, op
from .lrp import neg, pos

NEAR_ZERO = 1e-7
"""Below this a difference of float32 numbers says nothing: the gradient is taken."""


def rescale(m: Var, f: Call) -> Sequence[Cotangent]:
    """m·Δy/Δx, elementwise (eq. 10)."""
    return [_quotient(m * (f.y - f.reference.y), f.x[0] - f.reference.x[0], f.vjp(m)[0]), *(None for _ in f.x[1:])]


def _quotient(owed: Var, dx: Var, slope: Cotangent = None) -> Var:
    """owed/Δx, and the gradient or nothing where Δx is next to nothing."""
    small = cast(op.Abs(dx) < NEAR_ZERO, dx)
    quotient = unbroadcast(owed, dx) / (dx + small) * (1 - small)
    return quotient if slope is None else quotient + slope * small


def bilinear(m: Var, f: Call) -> Sequence[Cotangent]:
    """A product of two inputs: each at the other's mean of input and reference, so that Δ(ab) is shared fairly (Shapley)."""
    return [a + b if a is not None and b is not None else None for a, b in zip(f.vjp(0.5 * m), f.reference.vjp(0.5 * m))]


def division(m: Var, f: Call) -> Sequence[Cotangent]:
    """a/b as the product of a and 1/b, the latter rescaled."""
    if len(f.x) == 1:
        return rescale(m, f)
    (a, b), (a0, b0) = f.x, f.reference.x
    return [unbroadcast(m * 0.5 * (1 / b + 1 / b0), a), unbroadcast(-m * 0.5 * (a + a0) / (b * b0), b)]


def maximum(m: Var, f: Call) -> Sequence[Cotangent]:
    """The winner at the input owes the rise to the larger maximum, the winner at the reference what it falls short; minima likewise."""
    y, y0 = f.y, f.reference.y
    top = op.Min(y, y0) if f.node.op_type in ("Min", "ReduceMin") else op.Max(y, y0)
    owed, back, slopes = f.vjp(m * (top - y0)), f.reference.vjp(m * (y - top)), f.vjp(m)
    return [_quotient(a + b, x - x0, s) if a is not None and b is not None else None for a, b, x, x0, s in zip(owed, back, f.x, f.reference.x, slopes)]


def softmax(m: Var, f: Call) -> Sequence[Cotangent]:
    """An exponential behind log_softmax: well conditioned where the two sums differ by orders of magnitude, unlike e/Σe."""
    axis = f.node.attributes.get("axis", -1)
    z, z0 = (_finite(op.LogSoftmax(x, axis=axis)) for x in (f.x[0], f.reference.x[0]))
    return log_softmax(_quotient(m * (f.y - f.reference.y), z - z0, m * f.y), f)


def log_softmax(m: Var, f: Call) -> Sequence[Cotangent]:
    """x − log Σe: the logarithm and the exponential rescaled."""
    axis = [f.node.attributes.get("axis", -1)]
    x, x0 = _finite(f.x[0]), _finite(f.reference.x[0])
    top, top0 = (op.ReduceMax(v, axis, keepdims=1) for v in (x, x0))
    c = op.Max(top, top0)
    e, e0 = op.Exp(x - c), op.Exp(x0 - c)
    s, s0 = (op.ReduceSum(v, axis, keepdims=1) for v in (e, e0))
    # One of the two sums is 1 and more; the other may be too small for a float, but not its logarithm.
    log_s, log_s0 = (op.Log(op.ReduceSum(op.Exp(v - t), axis, keepdims=1)) + (t - c) for v, t in ((x, top), (x0, top0)))
    m_s = op.ReduceSum(-m, axis, keepdims=1)
    m_e = _quotient(m_s * (log_s - log_s0), s - s0, m_s / op.Max(s, 0.5))
    return [m + _quotient(m_e * (e - e0), x - x0, m_e * e)]


def _finite(x: Var) -> Var:
    """A masked logit is minus infinity, and infinity minus infinity is no number."""
    return op.Max(x, -1e30)


def layer_norm(m: Var, f: Call) -> Sequence[Cotangent]:
    """The product of the centred input and one over its deviation."""
    rank, axis = f.x[0].rank, f.node.attributes.get("axis", -1)
    axes = list(range(axis % rank, rank))
    scale, epsilon = f.inputs[1], f.node.attributes.get("epsilon", 1e-5)
    centre = f.node.op_type == "LayerNormalization"
    c, c0 = (x - op.ReduceMean(x, axes, keepdims=1) if centre else x for x in (f.x[0], f.reference.x[0]))
    v, v0 = (op.ReduceMean(u * u, axes, keepdims=1) + epsilon for u in (c, c0))
    r, r0 = 1 / op.Sqrt(v), 1 / op.Sqrt(v0)
    ms = m * scale
    m_r = op.ReduceSum(ms * 0.5 * (c + c0), axes, keepdims=1)
    m_v = _quotient(m_r * (r - r0), v - v0, m_r * -0.5 * r / v)
    m_c = ms * 0.5 * (r + r0) + m_v * (c + c0) / _count(c, axes)
    return [m_c - op.ReduceMean(m_c, axes, keepdims=1) if centre else m_c]


def _count(x: Var, axes: list[int]) -> Var:
    """How many elements a mean over `axes` of x runs over."""
    return op.ReduceSum(x * 0 + 1, axes, keepdims=1)


LINEAR_KINDS = {"linear", "sum", "batch_norm", "avg_pool", "movement"}
LINEAR_OPS = {
    *("Add", "Sub", "Mul", "Div", "Neg", "Sum", "Mean", "ReduceSum", "ReduceMean", "CumSum", "Dropout", "Where", "Trilu"),
    *("Gather", "GatherElements", "GatherND", "Compress", "ScatterElements", "ScatterND"),
}
"""Linear in one active input; several of them where the kind says so."""
NODES = {"Softmax": softmax, "LogSoftmax": log_softmax, "LayerNormalization": layer_norm, "RMSNormalization": layer_norm, "Div": division}
MAXIMA = ("MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin", "Max", "Min")


@dataclass
class DeepLift:
    """`rules(flow, node)` for the sweep: "rescale", "reveal_cancel", "genomics_default" or "linear" at the activations."""

    rule: str = "rescale"
    _split: dict[str, tuple[Var, Var]] = field(default_factory=dict)

    def __call__(self, flow: Flow, node: Node) -> Rule:
        rule = self._rule(flow, node)
        return lambda m, f: rule(*single(m, f))

    def _rule(self, flow: Flow, node: Node) -> Rule:
        kind, active = flow.kind(node), [k for k, i in enumerate(node.inputs) if i in flow.active]
        if kind == "activation":
            return gradient if self.rule == "linear" else self._activation(flow, node)
        if kind == "linear" and node.outputs[0] in self._split:
            return self._linear
        if kind in ("batch_norm", "normalization") and active != [0]:
            raise _refusal(node, " whose parameters depend on what is attributed to")
        if kind in LINEAR_KINDS or (kind != "product" and node.op_type in LINEAR_OPS and _linear_here(node, active)):
            return gradient
        if node.op_type in NODES:
            return NODES[node.op_type]
        if node.op_type == "Einsum" and len(active) != 2:
            if len(active) > 2:
                raise _refusal(node, f" of {len(active)} operands that depend on what is attributed to")
            return gradient
        if kind == "product" and node.op_type in ("Mul", "MatMul", "Gemm", "Einsum"):
            return bilinear
        if node.op_type in MAXIMA:
            return maximum
        if node.op_type == "Pow" and len(active) == 1:
            return rescale
        raise _refusal(node)

    # ---- RevealCancel: an activation and the linear layer before it together ----

    def _activation(self, flow: Flow, node: Node):
        maker = flow.graph.producer.get(node.inputs[0])
        maker = maker and (flow.biased(maker) or maker)
        alone = maker is not None and len(flow.graph.users.get(node.inputs[0], ())) == 1 and flow.kind(maker) == "linear"
        wanted = self.rule == "reveal_cancel" or (self.rule == "genomics_default" and maker is not None and flow.is_kind(maker, "dense"))
        return (lambda m, f: self._reveal_cancel(m, f)) if alone and wanted and maker in flow.nodes else rescale

    def _reveal_cancel(self, m: Var, f: Call) -> Sequence[Cotangent]:
        """Δy⁺ and Δy⁻: what the positive and the negative part of Δx add, each averaged over both orders (eq. 12, 13)."""
        layer = f.maker.maker if f.flow.biased(f.maker.node) else f.maker
        x0, y0 = f.reference.x[0], f.reference.y
        up, down = self._parts(layer)
        at_up, at_down, both = (f.node(v, *f.inputs[1:]) for v in (x0 + up, x0 + down, x0 + up + down))
        dy_up = 0.5 * (at_up - y0 + both - at_down)
        dy_down = 0.5 * (at_down - y0 + both - at_up)
        self._split[layer.node.outputs[0]] = _quotient(m * dy_up, up), _quotient(m * dy_down, down)
        return f.vjp(m)  # only reaches the layer, which takes the two

    @staticmethod
    def _parts(layer: Call) -> tuple[Var, Var]:
        """The sums of the layer's positive and of its negative contributions to Δ."""
        dx = layer.x[0] - layer.reference.x[0]
        up, down = [op.Max(dx, 0)], [op.Min(dx, 0)]
        total = [_z(layer(up, pos, bias=False)) + _z(layer(down, neg, bias=False)), _z(layer(up, neg, bias=False)) + _z(layer(down, pos, bias=False))]
        return total[0], total[1]

    def _linear(self, m: Var, f: Call) -> Sequence[Cotangent]:
        """Positive contributions take one multiplier, negative ones the other; what did not change itself, half of both (section 3.5.1)."""
        m_up, m_down = self._split[f.node.outputs[0]]
        dx = f.x[0] - f.reference.x[0]
        rising = 0.5 * (op.Sign(dx) + 1)
        falling = 1 - rising
        up, down = f([op.Max(dx, 0)], pos, bias=False), f([op.Max(dx, 0)], neg, bias=False)
        return [rising * (_pull(up, m_up) + _pull(down, m_down)) + falling * (_pull(up, m_down) + _pull(down, m_up))]


def _refusal(node: Node, what: str = "") -> UnsupportedModelError:
    remedy = "explain a tensor behind it (wrt=…) or before it (output=…), or use another method"
    return UnsupportedModelError(f"deeplift has no rule for {node}{what}. Remedy: {remedy}.")


def _linear_here(node: Node, active: Sequence[int]) -> bool:
    """Whether the node is linear in those of its inputs that are active."""
    if node.op_type in ("ScatterElements", "ScatterND"):
        return node.attributes.get("reduction", "none") in ("none", "add")
    if node.op_type in ("Mul", "Div", "Where"):
        return (node.op_type == "Where" and 0 not in active) or active == [0] or (node.op_type == "Mul" and len(active) == 1)
    return True


def _z(part: Part | None) -> Var:
    assert part is not None
    return part.z


def _pull(part: Part | None, s: Var) -> Var:
    assert part is not None and part.pull is not None
    d = part.pull(s)[0]
    assert d is not None
    return d
