"""Compare the input gradient of every model in a folder with finite differences along random directions.

    python scripts/zoo_gradients.py ../shared/zoo/models [--only NAME]

Directions are the gradient with random signs, so that rounding in float32 does not drown the slope; float32 models with small
inputs get a random one too. Steps are such that the score moves by a given part of its size; of several the two neighbours that
agree best are taken: there neither a kink nor rounding speaks. A 16-bit model is compared with its float32 twin, a quantised one
with the model whose rounding errors stay what they are: its slope is the straight-through estimate.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

import onnxplain
from onnxplain.graph import Graph, Node, graphs_of
from onnxplain.ops.shapes import cast
from onnxplain.question import Question
from onnxplain.session import Session
from onnxplain.tape import Dim, Tape, Var, op

PARTS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""How far a step moves the score, relative to its size."""
FEW = 4096
"""In more dimensions a random direction meets kinks before the score moves by more than it is rounded."""
NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
SOUND, TEXT, IMAGE = 576, 24, (48, 192)
"""Extents of symbolic axes: samples where the model is told their rate, tokens, and height and width."""

Arrays = dict[str, np.ndarray]


def examples(q: Question, rng: np.random.Generator) -> Arrays:
    """Plausible inputs: token ids that the embeddings have, a sampling rate, or smooth noise."""
    sound = any(not t.shape and not t.is_float for t in q.graph.inputs.values())  # the model is told a rate

    def extent(d: Dim, axis: int, rank: int) -> int:
        if isinstance(d, int):
            return d
        if d == q.batch:
            return 1 if sound else 2
        return IMAGE[axis - 2] if rank == 4 else TEXT if not sound else SOUND if axis == rank - 1 else 1

    feeds = {}
    for name, t in q.graph.inputs.items():
        shape = [extent(d, axis, len(t.shape or ())) for axis, d in enumerate(t.shape or ())]
        if t.is_float:
            feeds[name] = (rng.standard_normal(shape) * (50 if t.dtype == np.float16 else 1)).astype(t.dtype)
        else:
            feeds[name] = rng.integers(1, vocabulary(q.graph, name), shape).astype(t.dtype) if shape else np.array(16000, t.dtype)
    return feeds


def vocabulary(graph: Graph, name: str) -> int:
    """How many rows the smallest table has that is looked up with an input."""
    tables = (graph.types[n.inputs[0]].shape for n in graph.users[name] if n.op_type == "Gather")
    return min((d for shape in tables if shape and isinstance(d := shape[0], int)), default=2)


def widened(path: pathlib.Path) -> onnx.ModelProto | None:
    """The model with float32 in the place of 16 bits; None where it has none."""
    model = onnx.load(path)
    tensors = [t for g in graphs_of(model.graph) for t in (*g.initializer, *(a.t for n in g.node for a in n.attribute if a.HasField("t")))]
    values = [v.type.tensor_type for g in graphs_of(model.graph) for v in (*g.input, *g.output, *g.value_info)]
    casts = [a for g in graphs_of(model.graph) for n in g.node if n.op_type == "Cast" for a in n.attribute if a.name == "to"]
    if not any(t.data_type in NARROW for t in tensors) and not any(v.elem_type in NARROW for v in values):
        return None
    for t in tensors:
        if t.data_type in NARROW:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float32), t.name))
    for v in values:
        v.elem_type = TensorProto.FLOAT if v.elem_type in NARROW else v.elem_type
    for a in casts:
        a.i = TensorProto.FLOAT if a.i in NARROW else a.i
    return model


def smooth(q: Question, point: Arrays) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """The score as a function of what `point` holds. Quantised values saturate, but their rounding errors stay what they are at `point`."""
    tape = Tape()
    env = replace(q.graph, nodes=[]).write(tape, {n: tape.input(n, q.graph.types[n]) for n in point})
    quantised = {n for n in q.flow.nodes if n.op_type == "QuantizeLinear"}
    real = q.graph.write(tape, {n: tape.input(f"point/{n}", q.graph.types[n]) for n in point}, prefix="point/") if quantised else {}
    for node in q.graph.nodes:
        x = env.get(node.inputs[0]) if node.inputs else None
        if node in quantised:
            env[node.outputs[0]] = code(node, env, q) + (cast(real[node.outputs[0]], np.dtype(np.float32)) - code(node, real, q))
        elif node.op_type == "DequantizeLinear" and x is not None and x.type.is_float:
            env[node.outputs[0]] = (x - cast(env[node.inputs[2]], x)) * env[node.inputs[1]]
        else:
            env = replace(q.graph, nodes=[node]).write(tape, env)
    session = Session(tape.build({"score": env[q.output]}))
    fixed = {f"point/{n}": v for n, v in point.items()}
    return lambda at: session.run({**fixed, **at})["score"].astype(np.float64)


def code(node: Node, env: Mapping[str, Var], q: Question) -> Var:
    """What a QuantizeLinear with one scale rounds, as far as its type reaches."""
    x, scale, zero = (env[i] for i in node.inputs)
    grid, exact = np.iinfo(zero.dtype), x / scale + cast(zero, x)
    return exact if node in q.flow.final else op.Min(op.Max(exact, grid.min - 0.5), grid.max + 0.5)


def check(path: pathlib.Path, rng: np.random.Generator) -> str:
    started = time.perf_counter()
    explainer = onnxplain.Explainer(path, "gradient")
    q = explainer.question
    feeds = examples(q, rng)
    explanation = explainer.explain(feeds)
    seconds = time.perf_counter() - started
    if (wide := widened(path)) is not None:
        q = Question.ask(onnxplain.load(wide), q.output, q.wrt)
        feeds = {n: v.astype(t.dtype) for (n, t), v in zip(q.graph.inputs.items(), feeds.values())}
    tape = Tape()
    values = q.graph.write(tape, {n: tape.input(n, t) for n, t in q.graph.inputs.items()})
    at = Session(tape.build({f"at/{n}": values[n] for n in q.wrt})).run(feeds)
    point = feeds | {n: at[f"at/{n}"] for n in q.wrt}
    f, axis = smooth(q, point), q.axis(q.output)
    coarse = wide is not None or any(n.kind == "quantization" for n in q.flow.nodes)
    places = [tuple(np.insert(np.atleast_1d(t), axis, i)) if axis is not None else tuple(t) for i, t in enumerate(explanation.target)]
    score = lambda at: sum(y[p] for y in [f(at)] for p in places)
    worst, told = 0.0, 0
    for name, gradient in explanation.attributions.items():
        if gradient.shape != point[name].shape or not np.isfinite(gradient).all():
            return f"FAIL {name}: shape {gradient.shape}, finite {np.isfinite(gradient).all()}"
        g = gradient.astype(np.float64)
        directions = [rng.choice([-1.0, 1.0], g.shape, p=[0.25, 0.75]) * g for _ in range(3)]
        for u in directions if coarse or g.size > FEW else [*directions, rng.standard_normal(g.shape)]:
            own, slopes = float((g * u).sum()), []
            size = max(abs(own), float(np.linalg.norm(g * u)), 1e-30)
            for part in PARTS:
                h = part * max(abs(score(point)), 1e-3) / size
                ends = [(point[name] + sign * h * u).astype(np.float32) for sign in (1, -1)]
                slopes.append((score({**point, name: ends[0]}) - score({**point, name: ends[1]})) / (2 * h))
            gap, slope = min((abs(a - b), b) for a, b in itertools.pairwise(slopes))
            if gap < 0.05 * max(abs(slope), size):
                told += 1
                worst = max(worst, (abs(own - slope) - gap) / max(abs(slope), size))
    verdict = "ok  " if worst < 0.03 and told else "FAIL"
    shapes = ", ".join(f"{n}{list(g.shape)}" for n, g in explanation.attributions.items())
    return f"{verdict} worst {max(worst, 0):.1e} over {told} directions, {shapes}, {seconds:.1f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    bad = 0
    for path in sorted(options.folder.glob("*.onnx")):
        if options.only in path.name:
            try:
                line = check(path, np.random.default_rng(0))
            except onnxplain.UnsupportedModelError as error:
                line = f"unsupported: {str(error)[:150]}"
            except Exception as error:
                line = f"FAIL {type(error).__name__}: {str(error)[:300]}"
            bad += line.startswith("FAIL")
            print(f"{path.stem:40s}{line}", flush=True)
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
