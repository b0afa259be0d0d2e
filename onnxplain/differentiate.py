"""The general vector-Jacobian product of a model, as a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import onnx

from .backward import backward
from .errors import InputError, choose
from .flow import Flow
from .model import load
from .tape import Tape, Type


def vjp(model: Any, outputs: Iterable[str] | None = None, wrt: Iterable[str] | None = None, *, prefix: str = "grad_") -> onnx.ModelProto:
    """The model with its vector-Jacobian product.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto, onnx_ir.Model or Model
    outputs : list of str, optional
        The outputs whose cotangents come in; by default all float outputs.
    wrt : list of str, optional
        The tensors whose cotangents go out; by default all float inputs.
    prefix : str, default "grad_"
        Names the new inputs `prefix + output` and the new outputs `prefix + tensor`.

    Returns
    -------
    onnx.ModelProto
        The model's inputs and outputs, and the new ones. It can be differentiated again, with another prefix.

    Raises
    ------
    UnsupportedModelError
        A node on the way has no rule; every such node is named.
    """
    loaded = load(model)
    outputs, wrt = _names(outputs, loaded.outputs), _names(wrt, loaded.inputs)
    for name in (*outputs, *wrt):
        choose("tensor", name, loaded.raw.types)
        if not loaded.raw.types[name].is_float:
            raise InputError(f"{name!r} is {loaded.raw.types[name]}: only float tensors have derivatives")
    if not outputs or not wrt:
        raise InputError("a vector-Jacobian product needs at least one float output and one float tensor to differentiate by")
    if both := [n for n in outputs if n in wrt]:
        raise InputError(f"{both[0]!r} is both an output and a tensor to differentiate by: name the others with outputs= or wrt=")
    graph = loaded.graph(frozenset([*outputs, *wrt]))
    taken = [n for n in (*(prefix + o for o in outputs), *(prefix + n for n in wrt)) if n in graph.types]
    if taken:
        raise InputError(f"the model already has a tensor {taken[0]!r}: give another prefix than {prefix!r}")
    tape = Tape()
    inputs = {n: tape.input(n, t) for n, t in graph.inputs.items()}
    tape.reserve(prefix + n for n in (*outputs, *wrt))
    env = graph.write(tape, inputs)
    seeds = {n: tape.input(prefix + n, env[n].type) for n in outputs}
    pulled = backward(Flow(graph, tuple(outputs), tuple(wrt)), env, seeds)
    return tape.build({n: env[n] for n in graph.outputs} | {prefix + n: v for n, v in pulled.items()}).to_proto()


def _names(given: Iterable[str] | None, types: dict[str, Type]) -> list[str]:
    if given is None:
        return [n for n, t in types.items() if t.is_float]
    return [given] if isinstance(given, str) else list(given)
