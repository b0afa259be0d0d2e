"""Rows for ops/recurrent.py: every attribute, each output, every optional input."""

from functools import partial
from itertools import product

import numpy as np
from check_vjp import case
from recurrent_numpy import GATES, recurrent

T, N, FEATURES, H = 4, 3, 2, 3
CASES = {}


def drawn(op_type, rng, *, sizes=(T, N, FEATURES, H), given="", outputs=None, lens=None, activations=None, tolerance=2e-3, scale=1.0, **attributes):
    """A case with random weights. `given` names optional inputs: b(ias), h, c (initial states), p(eepholes)."""
    time, batch, features, hidden = sizes
    f32 = lambda *shape: (scale * rng.standard_normal(shape)).astype(np.float32)
    d, n = 2 if attributes.get("direction") == "bidirectional" else 1, GATES[op_type]
    by_batch = attributes.get("layout", 0)
    x, state = ((batch, time, features), (batch, d, hidden)) if by_batch else ((time, batch, features), (d, batch, hidden))
    inputs = [f32(*x), f32(d, n * hidden, features), f32(d, n * hidden, hidden), f32(d, 2 * n * hidden) if "b" in given else None]
    inputs += [None if lens is None else np.array(lens, np.int32), f32(*state) if "h" in given else None]
    if op_type == "LSTM":
        inputs += [f32(*state) if "c" in given else None, f32(d, 3 * hidden) if "p" in given else None]
    outputs = outputs or ["Y", "Y_h", "Y_c"][: 3 if op_type == "LSTM" else 2]
    if activations:
        attributes["activations"] = activations * d
    return case(op_type, *inputs, outputs=outputs, hidden_size=hidden, tolerance=tolerance, oracle=partial(recurrent, op_type, outputs), **attributes)


def add(name, op_type, **facts):
    CASES[f"{op_type}-{name}"] = drawn(op_type, np.random.default_rng(len(CASES)), **facts)


for op_type in GATES:
    every = "bhcp" if op_type == "LSTM" else "bh"
    for direction, lens, layout in product(["forward", "reverse", "bidirectional"], [None, [4, 2, 3]], [0, 1]):
        if lens is None or not layout:
            add(f"{direction}{'-lens' * (lens is not None)}-layout{layout}", op_type, given=every, direction=direction, lens=lens, layout=layout)
    add("bare", op_type)
    for outputs in (["Y"], ["", "Y_h"], ["", "", "Y_c"]):
        if op_type == "LSTM" or "Y_c" not in outputs:
            add(f"only-{outputs[-1]}", op_type, given="b", outputs=outputs, lens=[2, 4, 1] if "Y_h" in outputs else None)
    add("clip", op_type, given=every, clip=0.7)
for lens, given in product([None, [4, 2, 3]], ["b", "bh"]):
    add(f"linear-before-reset-{given}{'-lens' * (lens is not None)}", "GRU", given=given, linear_before_reset=1, lens=lens, direction="bidirectional")
add("linear-before-reset-bare", "GRU", linear_before_reset=1)
for given, lens in product(["", "hc", "p", "bhcp"], [None, [4, 2, 3]]):
    add(f"input-forget-{given}{'-lens' * (lens is not None)}", "LSTM", given=given, input_forget=1, lens=lens)
    add(f"plain-{given}{'-lens' * (lens is not None)}", "LSTM", given=given, lens=lens)

GIVEN = {"Affine": (0.7, 0.2), "ScaledTanh": (1.3, 0.6), "HardSigmoid": (0.3, 0.4), "LeakyRelu": (0.1,), "ThresholdedRelu": (0.3,), "Elu": (0.8,)}
for name in ("Sigmoid", "Tanh", "Relu", "Softsign", "Softplus", *GIVEN):
    numbers = {f"activation_{k}": [v] for k, v in zip(("alpha", "beta"), GIVEN.get(name, ()))}
    add(f"activation-{name}", "RNN", given="b", activations=[name], **numbers)
add("activations-two", "LSTM", given="bp", activations=["HardSigmoid", "ScaledTanh", "LeakyRelu"], activation_alpha=[0.3, 1.1, 0.2], activation_beta=[0.4, 0.9])
add("activations-two-ways", "LSTM", given="b", direction="bidirectional", activations=["HardSigmoid", "Tanh", "Softsign"])
add("activations", "GRU", given="b", activations=["HardSigmoid", "Softsign"], activation_alpha=[0.25], activation_beta=[0.45])
