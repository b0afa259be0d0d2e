"""Recurrences in the emitted graph: a step written as a formula becomes the body of a Scan over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..tape import Type, Var, op

Step = Callable[[Sequence[Var], Sequence[Var]], tuple[Sequence[Var], Sequence[Var]]]
"""From the carried values and this moment's slices to the next carried values and what to stack."""


def scan(step: Step, carried: Sequence[Var], scanned: Sequence[Var], *, reverse: bool = False) -> tuple[list[Var], list[Var]]:
    """Run `step` along axis 0 of `scanned`: the last carried values, and what was stacked, in the order of time.

    With `reverse` from the last moment to the first. What else the step reads is captured.
    """
    tape = max((v.tape for v in (*carried, *scanned)), key=lambda t: t.depth)
    inner = tape.inner()
    states = [inner.input(inner.name("state"), v.type) for v in carried]
    slices = [inner.input(inner.name("slice"), Type.tensor(v.dtype, v.shape[1:])) for v in scanned]
    after, stacked = step(states, slices)
    time = scanned[0].shape[0]
    attributes = {"body": inner.body([*after, *stacked], "step"), "num_scan_inputs": len(scanned)}
    if reverse:
        attributes |= {"scan_input_directions": [1] * len(scanned), "scan_output_directions": [1] * len(stacked)}
    types = [v.type for v in carried] + [Type.tensor(v.dtype, [time, *v.shape]) for v in stacked]
    results = tape.emit("Scan", [*carried, *scanned], len(types), attributes, types=types)
    results = [results] if len(types) == 1 else list(results)
    return results[: len(carried)], results[len(carried) :]


def accumulate(first: Var, factor: Var, term: Var) -> Var:
    """y₀ = first, yₜ = factorₜ ⊙ yₜ₋₁ + termₜ: [T + 1, …]."""

    def step(states, slices):
        (y,), (factor, term) = states, slices
        y = factor * y + term
        return [y], [y]

    _, (y,) = scan(step, [first], [factor, term])
    return op.Concat(op.Unsqueeze(first, [0]), y, axis=0)
