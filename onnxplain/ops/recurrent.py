"""LSTM, GRU and RNN.

The outputs hold the state before every step, so gates and their slopes are computed for all steps at once. Only two linear
recurrences remain: an LSTM's memory forward in time, and the states' cotangents backward, a Scan with a small body.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UnsupportedModelError
from ..tape import Var, op
from .newer import softplus
from .registry import recurrent
from .scans import accumulate, scan
from .shapes import cast, counted, dim, mT, reshape, shape_of, typed

# ---- activations: z → the value a, and from (z, a) the slope; α and β where there are any ----


def _bell(z: Var) -> Var:
    """The slope of the sigmoid, with all its digits where a·(1 − a) of a saturated gate has none left."""
    e = op.Exp(-op.Abs(z))
    return e / ((1 + e) * (1 + e))


ACTIVATIONS: dict[str, tuple[Callable, Callable, tuple[float, ...]]] = {
    "sigmoid": (lambda z: op.Sigmoid(z), lambda z, a: _bell(z), ()),
    "tanh": (lambda z: op.Tanh(z), lambda z, a: 4 * _bell(2 * z), ()),
    "relu": (lambda z: op.Relu(z), lambda z, a: op.Sign(a), ()),
    "softsign": (lambda z: op.Softsign(z), lambda z, a: (1 - op.Abs(a)) * (1 - op.Abs(a)), ()),
    "softplus": (softplus, lambda z, a: op.Sigmoid(z), ()),
    "affine": (lambda z, p, q: p * z + q, lambda z, a, p, q: z * 0 + p, (1.0, 0.0)),
    "scaledtanh": (lambda z, p, q: p * op.Tanh(q * z), lambda z, a, p, q: p * q * 4 * _bell(2 * q * z), (1.0, 1.0)),
    "hardsigmoid": (lambda z, p, q: op.HardSigmoid(z, alpha=p, beta=q), lambda z, a, p, q: p * cast((a > 0) & (a < 1), z), (0.2, 0.5)),
    "leakyrelu": (lambda z, p: op.LeakyRelu(z, alpha=p), lambda z, a, p: p + (1 - p) * cast(z > 0, z), (0.01,)),
    "thresholdedrelu": (lambda z, p: op.ThresholdedRelu(z, alpha=p), lambda z, a, p: cast(z > p, z), (1.0,)),
    "elu": (lambda z, p: op.Elu(z, alpha=p), lambda z, a, p: p * op.Exp(op.Min(z, 0)) + (1 - p) * cast(z > 0, z), (1.0,)),
}
Activation = Callable[[Var], tuple[Var, Var]]
"""From the argument to the value and the slope; the argument is clipped first where the node says so."""


def _activations(names: Sequence, alphas: Sequence[float], betas: Sequence[float], clips: Sequence[float | None]) -> list[Activation]:
    """α and β are handed out in order to those that take them."""
    rest = [iter(alphas), iter(betas)]

    def one(name, clip) -> Activation:
        name = name.decode() if isinstance(name, bytes) else name
        if name.lower() not in ACTIVATIONS:
            raise UnsupportedModelError(f"a recurrent node has the activation {name!r}. Known: {', '.join(ACTIVATIONS)}.")
        value, slope, defaults = ACTIVATIONS[name.lower()]
        given = [next(r, d) for r, d in zip(rest, defaults)]

        def apply(z):
            if clip is None:
                a = value(z, *given)
                return a, slope(z, a, *given)
            inside = op.Min(op.Max(z, -clip), clip)
            a = value(inside, *given)
            return a, slope(inside, a, *given) * cast(op.Equal(inside, z), z)

        return apply

    return [one(name, clips[k % len(clips)]) for k, name in enumerate(names)]


# ---- one direction, in its own time ----


def _through(v: Var, w: Var, *bias: Var) -> Var:
    """v·wᵀ + b at every step, [T, B, …]: not as MatMul, since ONNX Runtime ends the process over Transpose, Cast and MatMul, float16's way to get here."""
    return reshape(op.Gemm(reshape(v, -1, dim(v, 2)), w, *bias, transB=1), shape_of(v, 0, 2), -1)


@dataclass(frozen=True, eq=False)
class Pass:
    """Time comes first: x is [T, B, I], `before` the hidden state before each step [T, B, H], `mask` [T, B, 1] tells the valid steps.

    `dh` is the cotangent of the last state, with that of the last output; `gy` holds those of the output before each step.
    """

    x: Var
    w: Var
    r: Var
    b: Var | None
    before: Var
    dh: Var
    gy: Var
    mask: Var | None

    def gates(self, count: int) -> list[Var]:
        """x·Wᵀ + h·Rᵀ + b, split."""
        bias = [op.Add(*op.Split(self.b, num_outputs=2, axis=0, outputs=2))] if self.b is not None else []
        z = _through(op.Concat(self.x, self.before, axis=2), op.Concat(self.w, self.r, axis=1), *bias)
        return op.Split(z, num_outputs=count, axis=2, outputs=count)

    def valid(self, v: Var) -> Var:
        """Zero at the steps beyond a sequence's end."""
        return v if self.mask is None else v * self.mask

    def kept(self, factor: Var | None) -> Var | None:
        """By what a state's cotangent passes a step directly: all of it beyond the end."""
        if self.mask is None:
            return factor
        return 1 - self.mask if factor is None else factor * self.mask + (1 - self.mask)

    def answer(self, dx_gates: Var, dr_gates: Var, before: Var | None = None) -> list[Var]:
        """The cotangents of x, W, R and B from those of the gates' two parts."""
        rows = lambda v: op.Reshape(v, op.Concat([-1], dim(v, 2), axis=0))
        total = lambda v: op.ReduceSum(v, [0, 1], keepdims=0)
        return [
            dx_gates @ self.w,
            mT(rows(dx_gates)) @ rows(self.x),
            mT(rows(dr_gates)) @ rows(self.before if before is None else before),
            op.Concat(total(dx_gates), total(dr_gates), axis=0),
        ]


def _shifted(first: Var, rest: Var) -> Var:
    """What was there before each step."""
    return op.Concat(op.Unsqueeze(first, [0]), op.Slice(rest, [0], [-1], [0]), axis=0)


def _rnn(k: Pass, acts: list[Activation]) -> tuple[list[Var], list[Var]]:
    z = k.gates(1)
    slope, kept = k.valid(acts[0](z)[1]), k.kept(None)

    def step(states, slices):
        (dh,), (gy, slope, *kept) = states, slices
        dz = dh * slope
        return [dz @ k.r + (gy + dh * kept[0] if kept else gy)], [dz]

    (dh,), (dz,) = scan(step, [k.dh], [k.gy, slope, *([kept] if kept is not None else [])], reverse=True)
    return k.answer(dz, dz), [dh]


def _gru(k: Pass, acts: list[Activation], linear_before_reset: int) -> tuple[list[Var], list[Var]]:
    """h = (1 − z) ⊙ new + z ⊙ h_before; the reset gate r acts on h_before, or on its product with R."""
    wz, wr, wn = op.Split(k.w, num_outputs=3, axis=0, outputs=3)
    rz, rr, rn = op.Split(k.r, num_outputs=3, axis=0, outputs=3)
    b = op.Split(k.b, num_outputs=6, axis=0, outputs=6) if k.b is not None else None
    plus = lambda v, *which: v if b is None else v + sum((b[i] for i in which[1:]), b[which[0]])
    z, d_z = acts[0](plus(_through(k.x, wz) + _through(k.before, rz), 0, 3))
    r, d_r = acts[0](plus(_through(k.x, wr) + _through(k.before, rr), 1, 4))
    inner = plus(_through(k.before, rn), 5) if linear_before_reset else None
    new, d_new = acts[1](plus(_through(k.x, wn), 2) + r * inner if linear_before_reset else plus(_through(k.x, wn) + _through(r * k.before, rn), 2, 5))
    to_z, to_new = k.valid((k.before - new) * d_z), k.valid((1 - z) * d_new)
    kept = k.kept(z)

    if linear_before_reset:
        # Everything is a factor of dh: the gates' cotangents need no loop.
        through_x = op.Concat(to_z, to_new * inner * d_r, to_new, axis=2)
        through_r = op.Concat(to_z, to_new * inner * d_r, to_new * r, axis=2)

        def step(states, slices):
            (dh,), (gy, through, kept) = states, slices
            return [(op.Concat(dh, dh, dh, axis=1) * through) @ k.r + (dh * kept + gy)], [dh]

        (dh0,), (dh,) = scan(step, [k.dh], [k.gy, through_r, kept], reverse=True)
        dh = op.Concat(dh, dh, dh, axis=2)
        return k.answer(dh * through_x, dh * through_r), [dh0]

    r_zr, to_zr = op.Concat(rz, rr, axis=0), op.Concat(to_z, k.before * d_r, axis=2)

    def step(states, slices):
        (dh,), (gy, to_zr, to_new, r, kept) = states, slices
        dn = dh * to_new
        reset = dn @ rn
        d_zr = op.Concat(dh, reset, axis=1) * to_zr
        return [d_zr @ r_zr + (dh * kept + reset * r + gy)], [d_zr, dn]

    (dh0,), (d_zr, dn) = scan(step, [k.dh], [k.gy, to_zr, to_new, k.valid(r), kept], reverse=True)
    d = op.Concat(d_zr, dn, axis=2)
    dx, dw, dr, db = k.answer(d, d)
    # R's last part multiplied r ⊙ h_before.
    flat = lambda v: op.Reshape(v, op.Concat([-1], dim(v, 2), axis=0))
    d_zr = op.Slice(dr, [0], shape_of(r_zr, 0, 1), [0])
    return [dx, dw, op.Concat(d_zr, mT(flat(dn)) @ flat(r * k.before), axis=0), db], [dh0]


def _lstm(k: Pass, acts: list[Activation], c0: Var, gc: Var, p: Var | None, input_forget: int) -> tuple[list[Var], list[Var]]:
    """c = f ⊙ c_before + i ⊙ new, h = o ⊙ act(c); peepholes p show c_before to i and f, and c to o."""
    pi, po, pf = op.Split(p, num_outputs=3, axis=0, outputs=3) if p is not None else (None, None, None)
    zi, zo, zf, zn = k.gates(4)
    see = lambda z, weight, c: z if weight is None else z + weight * c
    new, d_new = acts[1](zn)

    def write(zi, zf, before):
        i, d_i = acts[0](see(zi, pi, before))
        f, d_f = (1 - i, d_i * 0) if input_forget else acts[0](see(zf, pf, before))
        return i, d_i, f, d_f

    def remember(states, slices):
        (c,), (zi, zf, new, *mask) = states, slices
        i, _, f, _ = write(zi, zf, c)
        after = f * c + i * new
        after = after if not mask else c + mask[0] * (after - c)
        return [after], [after]

    if p is not None:
        _, (c,) = scan(remember, [c0], [zi, zf, new, *([k.mask] if k.mask is not None else [])])
        before = _shifted(c0, c)
    else:
        i, _, f, _ = write(zi, zf, None)
        memory = accumulate(c0, k.kept(f), k.valid(i * new))
        before, c = op.Slice(memory, [0], [-1], [0]), op.Slice(memory, [1], [np.iinfo(np.int64).max], [0])
    i, d_i, f, d_f = write(zi, zf, before)
    o, d_o = acts[0](see(zo, po, c))
    shown, d_shown = acts[2](c)

    # Factors of dc (i, f, new) and of dh (o): what each gate sends on.
    to_i, to_f = (new - before if input_forget else new) * d_i, before * d_f
    to_o, to_c = shown * d_o, o * d_shown
    to_c = to_c if p is None else to_c + to_o * po
    keep = f if p is None else f + to_i * pi + to_f * pf
    gates = k.valid(op.Concat(to_i, to_o, to_f, i * d_new, axis=2))

    def back(states, slices):
        (dh, dc), (gy, gates, to_c, keep, *over) = states, slices
        dc = dc + dh * to_c
        d = op.Concat(dc, dh, dc, dc, axis=1) * gates
        return [d @ k.r + (gy + dh * over[0] if over else gy), dc * keep], [d]

    over = k.kept(None)
    (dh0, dc0), (d,) = scan(back, [k.dh, gc], [k.gy, gates, k.valid(to_c), k.kept(keep), *([over] if over is not None else [])], reverse=True)

    def d_peepholes():
        di, do, df, _ = op.Split(d, num_outputs=4, axis=2, outputs=4)
        return op.Concat(*(op.ReduceSum(v, [0, 1], keepdims=0) for v in (di * before, do * c, df * before)), axis=0)

    return k.answer(d, d), [dh0, dc0, *([d_peepholes()] if p is not None else [])]


# ---- all directions: put each in its own time, and the results back ----


def _reversed(v: Var, lens: Var | None) -> Var:
    """Each sequence from its end."""
    if lens is not None:
        return op.ReverseSequence(v, lens, time_axis=0, batch_axis=1)
    return typed(op.Slice(v, [-1], [np.iinfo(np.int64).min], [0], [-1]), v)


def _every_direction(cell: Callable, g, y, inputs: Sequence[Var | None], states: Sequence[int], defaults: Sequence[str], attributes: dict) -> list[Var | None]:
    """Run `cell(pass, activations, direction, initial states, their cotangents)` for each; `states` are the positions of the initial states.

    The canonical model has layout 0 and always names Y.
    """
    x, w, r, b, lens = inputs[:5]
    direction = attributes.get("direction", "forward")
    count = 2 if direction == "bidirectional" else 1
    names = attributes.get("activations") or list(defaults) * count
    clips = [attributes.get("clip")] * 2 + [None]  # ONNX Runtime shows an LSTM's memory unclipped
    acts = _activations(names, attributes.get("activation_alpha") or [], attributes.get("activation_beta") or [], clips[: len(defaults)])
    take = lambda v, k, axis=0: None if v is None else op.Gather(v, np.int64(k), axis=axis)
    nothing = op.Expand(x.tape.constant(0.0, x), op.Concat(dim(x, 1), dim(r, 2), axis=0))
    mask = None
    if lens is not None:
        lens = op.Cast(lens, to=7)
        steps = counted(dim(x, 0))
        mask = cast(op.Unsqueeze(op.Unsqueeze(steps, [1]) < op.Unsqueeze(lens, [0]), [2]), x)

    total, parts = None, []
    for k in range(count):
        turn = (lambda v: _reversed(v, lens)) if direction == "reverse" or k else (lambda v: v)
        start = [nothing if inputs[i] is None else take(inputs[i], k) for i in states]
        end = [nothing if d is None else take(d, k) for d in (*g[1:], None, None)[: len(states)]]
        own = turn(take(y[0], k, 1))
        gy = own * 0 if g[0] is None else turn(take(g[0], k, 1))
        gy = gy if mask is None else gy * mask
        last = op.Gather(gy, np.int64(-1), axis=0)
        one = Pass(turn(x), take(w, k), take(r, k), take(b, k), _shifted(start[0], own), end[0] + last, _shifted(nothing, gy), mask)
        (dx, *weights), others = cell(one, acts[k * len(defaults) :], k, start, end)
        total = turn(dx) if total is None else total + turn(dx)
        parts.append([*weights, *others])
    dw, dr, db, *others = (op.Concat(*(op.Unsqueeze(v, [0]) for v in each), axis=0) for each in zip(*parts))
    return [total, dw, dr, db, None, *others]


@recurrent(many=True)
def RNN(g, y, x, w, r, b=None, sequence_lens=None, initial_h=None, **attributes):
    cell = lambda one, acts, *_: _rnn(one, acts)
    return _every_direction(cell, g, y, [x, w, r, b, sequence_lens, initial_h], [5], ["Tanh"], attributes)


@recurrent(many=True)
def GRU(g, y, x, w, r, b=None, sequence_lens=None, initial_h=None, *, linear_before_reset=0, **attributes):
    cell = lambda one, acts, *_: _gru(one, acts, linear_before_reset)
    return _every_direction(cell, g, y, [x, w, r, b, sequence_lens, initial_h], [5], ["Sigmoid", "Tanh"], attributes)


@recurrent(many=True)
def LSTM(g, y, x, w, r, b=None, sequence_lens=None, initial_h=None, initial_c=None, p=None, *, input_forget=0, **attributes):
    peep = lambda k: None if p is None else op.Gather(p, np.int64(k), axis=0)
    cell = lambda one, acts, k, start, end: _lstm(one, acts, start[1], end[1], peep(k), input_forget)
    return _every_direction(cell, g, y, [x, w, r, b, sequence_lens, initial_h, initial_c], [5, 6], ["Sigmoid", "Tanh", "Tanh"], attributes)
