"""LSTM, GRU and RNN as ONNX's text defines them, step by step, in NumPy: the oracle of the VJPs."""

import numpy as np

sigmoid = lambda z: 1 / (1 + np.exp(-z))
ACTIVATIONS = {
    "Sigmoid": (sigmoid, ()),
    "Tanh": (np.tanh, ()),
    "Relu": (lambda z: np.maximum(z, 0), ()),
    "Softsign": (lambda z: z / (1 + abs(z)), ()),
    "Softplus": (lambda z: np.log1p(np.exp(z)), ()),
    "Affine": (lambda z, a, b: a * z + b, (1.0, 0.0)),
    "ScaledTanh": (lambda z, a, b: a * np.tanh(b * z), (1.0, 1.0)),
    "HardSigmoid": (lambda z, a, b: np.clip(a * z + b, 0, 1), (0.2, 0.5)),
    "LeakyRelu": (lambda z, a: np.where(z > 0, z, a * z), (0.01,)),
    "ThresholdedRelu": (lambda z, a: np.where(z > a, z, 0), (1.0,)),
    "Elu": (lambda z, a: np.where(z > 0, z, a * (np.exp(np.minimum(z, 0)) - 1)), (1.0,)),
}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def recurrent(op_type, outputs, *inputs, **attributes):
    """The wanted outputs: a list of "Y", "Y_h", "Y_c", or "" for one that is left out."""
    x, w, r, b, lens, h0, c0, p = (*inputs, *[None] * (8 - len(inputs)))
    hidden, layout = attributes["hidden_size"], attributes.get("layout", 0)
    if layout:
        x, h0, c0 = (v if v is None else v.swapaxes(0, 1) for v in (x, h0, c0))
    steps, batch, _ = x.shape
    directions = w.shape[0]
    zeros = np.zeros((directions, batch, hidden))
    h0, c0 = zeros if h0 is None else h0, zeros if c0 is None else c0
    b = np.zeros((directions, 2 * GATES[op_type] * hidden)) if b is None else b
    p = np.zeros((directions, 3 * hidden)) if p is None else p
    lens = np.full(batch, steps) if lens is None else lens
    names = attributes.get("activations") or DEFAULTS[op_type] * directions
    rest = [iter(attributes.get(f"activation_{k}") or []) for k in ("alpha", "beta")]
    acts = []
    for f, defaults in (ACTIVATIONS[n] for n in names):
        given = [next(r, d) for r, d in zip(rest, defaults)]
        acts.append(lambda z, f=f, given=given: f(z, *given))
    limit = attributes.get("clip", np.inf)
    clipped = [lambda z, f=f: f(np.clip(z, -limit, limit)) for f in acts]
    y, y_h, y_c = np.zeros((steps, directions, batch, hidden)), np.zeros_like(zeros), np.zeros_like(zeros)
    for d in range(directions):
        f, *more = clipped[d * len(DEFAULTS[op_type]) :]
        backwards = attributes.get("direction", "forward") == "reverse" or d == 1
        wb, rb = np.split(b[d], 2)
        for n in range(batch):
            h, c = h0[d, n], c0[d, n]
            for t in reversed(range(lens[n])) if backwards else range(lens[n]):
                a, s = w[d] @ x[t, n] + wb, r[d] @ h + rb
                if op_type == "RNN":
                    h = f(a + s)
                elif op_type == "GRU":
                    (az, ar, an), (sz, sr, sn) = np.split(a, 3), np.split(s, 3)
                    z, reset = f(az + sz), f(ar + sr)
                    last = slice(2 * hidden, None)
                    new = more[0](an + (reset * sn if attributes.get("linear_before_reset") else r[d][last] @ (reset * h) + rb[last]))
                    h = (1 - z) * new + z * h
                else:
                    (zi, zo, zf, zn), (pi, po, pf) = np.split(a + s, 4), np.split(p[d], 3)
                    i = f(zi + pi * c)
                    forget = 1 - i if attributes.get("input_forget") else f(zf + pf * c)
                    c = forget * c + i * more[0](zn)
                    h = f(zo + po * c) * acts[d * 3 + 2](c)  # ONNX Runtime does not clip the memory here
                y[t, d, n] = h
            y_h[d, n], y_c[d, n] = h, c
    if layout:
        y, y_h, y_c = y.transpose(2, 0, 1, 3), y_h.swapaxes(0, 1), y_c.swapaxes(0, 1)
    known = {"Y": y, "Y_h": y_h, "Y_c": y_c}
    return [known[n] for n in outputs if n]
