"""Every node case that the onnx package ships: its vector-Jacobian product against central differences.

    python tests/ops/shipped.py [--symbolic] [--op Conv] [--verbose]

With --symbolic every dimension of every input is unknown while the product is written. Where ONNX's inference or ONNX Runtime
takes the model itself only with the lengths of its integer vectors (sizes, pads …), these are told.
"""

from __future__ import annotations

import argparse
import warnings
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from check_vjp import Inconclusive, compare, session
from onnx.reference import ReferenceEvaluator

import onnxplain
from onnxplain.tape import Tape

DTYPES = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.DOUBLE: np.float64}
SETTINGS = {"Resize": (1, 2), "Upsample": (1,), "Dropout": (1, 2), "OneHot": (0, 1), "RoiAlign": (1,), "MaxRoiPool": (1,)}
"""Float inputs that say how, not what."""
NOT_DIFFERENTIATED = {
    **dict.fromkeys(["Bernoulli", "RandomNormalLike", "RandomUniformLike"], "random"),
    **dict.fromkeys(["Adagrad", "Adam", "Momentum"], "the step of an optimiser"),
    **dict.fromkeys(["TreeEnsemble", "Binarizer"], "piecewise constant"),
    "MelWeightMatrix": "made of settings",
    "DynamicQuantizeLinear": "its scale is taken as a constant",
    "Round": "the straight-through estimate",
}
"""Operators that are refused, or whose derivative is zero by convention."""
EXCLUDED = {"test_training_dropout": "random", "test_range_float_type": "its extent changes with its inputs"}
"""Cases by the beginnings of their names."""


FLOAT64: dict[str, Any] = {"steps": (1e-7, 1e-6, 1e-5), "tolerance": 5e-3}
FLOAT32: dict[str, Any] = {"steps": (1e-3, 3e-3, 1e-2), "tolerance": 2e-2, "eps": 6e-8}


@dataclass(frozen=True)
class Verdict:
    case: str
    op_type: str
    """The operator that the case shows, or "several nodes" where it spells one out."""
    status: str
    """pass; fail; refused by onnxplain; disputed between the reference evaluator and ONNX Runtime; skip: nothing to compare."""
    why: str = ""


class Skipped(Exception):  # noqa: N818
    """There is nothing to compare."""


class Disputed(Exception):  # noqa: N818
    """The reference evaluator and ONNX Runtime compute other values."""


def verdicts(symbolic: bool = False, op_type: str | None = None) -> Iterator[Verdict]:
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in load_model_tests(kind="node"):
            nodes = case.model.graph.node
            own = nodes[0].op_type if len(nodes) == 1 else "several nodes"
            if op_type in (None, own):
                yield Verdict(case.name, own, *judge(case.name, case.model, case.data_sets[0][0], symbolic))


def judge(name: str, model: onnx.ModelProto, data: list, symbolic: bool) -> tuple[str, str]:
    """The status and its reason."""
    try:
        reason = next((r for begin, r in EXCLUDED.items() if name.startswith(begin)), None)
        reason = reason or next((r for n in model.graph.node if (r := NOT_DIFFERENTIATED.get(n.op_type))), None)
        if reason:
            raise Skipped(reason)
        check(name, model, data, symbolic)
    except Skipped as error:
        return "skip", str(error)
    except Disputed as error:
        return "disputed", str(error)
    except onnxplain.UnsupportedModelError as error:
        return "refused", str(error)
    except Exception as error:
        return "fail", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return "pass", ""


def check(name: str, model: onnx.ModelProto, data: list, symbolic: bool) -> None:
    """Assert that the product is right along two directions of each float input, at most once per kink."""
    if len(data) > len(model.graph.input) or not all(isinstance(v, np.ndarray | np.generic) for v in data):
        raise Skipped("inputs that are no tensors")
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    nodes = model.graph.node
    settings = {i for k, i in enumerate(nodes[0].input) if k in SETTINGS.get(nodes[0].op_type, ())} if len(nodes) == 1 else set()
    feeds = {i.name: np.asarray(v) for i, v in zip(model.graph.input, data)}
    wrt = [i.name for i in model.graph.input if i.type.tensor_type.elem_type in DTYPES and i.name not in settings and feeds[i.name].size]
    outputs = {o.name: DTYPES[e] for o in model.graph.output if (e := o.type.tensor_type.elem_type) in DTYPES}
    if not wrt or not outputs:
        raise Skipped("no float input, or no float output")
    f, wide = reference(model, list(outputs), feeds, wrt)
    for n in wrt:  # off the kinks by more than a step, inside of the domain
        x, off = feeds[n], 1e-3 if wide else 0.05
        feeds[n] = np.asarray(x * (1 + 0.01 * rng.uniform(-1, 1, x.shape)) + (x.ndim > 0) * off * rng.uniform(0.1, 1, x.shape), x.dtype)
    at = {n: v.astype(np.float64) if n in wrt and wide else v for n, v in feeds.items()}
    y = f(at)
    if not all(np.isfinite(v).all() for v in y):
        raise Skipped("an output is not finite")
    cotangents = [rng.standard_normal(v.shape) for v in y]
    built = onnxplain.vjp(loosened(model) if symbolic else model, list(outputs), wrt)
    seeds = {f"grad_{o}": g.astype(dtype) for (o, dtype), g in zip(outputs.items(), cotangents)}
    answers = session(built).run([*outputs, *(f"grad_{n}" for n in wrt)], {**feeds, **seeds})
    if not all(np.allclose(v, w, rtol=1e-3, atol=1e-3) for v, w in zip(answers, y)):
        raise Disputed("the reference evaluator and ONNX Runtime compute other values")
    told = 0
    for n, g in zip(wrt, answers[len(outputs) :]):
        assert g.shape == feeds[n].shape, f"the cotangent of {n} has shape {g.shape}, not {feeds[n].shape}"
        assert np.isfinite(g).all(), f"the cotangent of {n} is not finite"
        for _ in range(2):
            try:
                compare(f, at, n, g, cotangents, rng, **(FLOAT64 if wide else FLOAT32))
                told += 1
            except Inconclusive:
                pass
    if not told:
        raise Skipped("the central differences say nothing")


Feeds = Mapping[str, np.ndarray]


def reference(model: onnx.ModelProto, outputs: list[str], feeds: Feeds, wrt: list[str]) -> tuple[Callable[[Feeds], list[np.ndarray]], bool]:
    """What onnx's evaluator computes, and whether it does so in float64 throughout where it is given that."""
    double = lambda v: np.asarray(v, np.float64 if np.asarray(v).dtype.kind == "f" else None)
    try:
        evaluator = ReferenceEvaluator(model)
        narrow = lambda given: [double(v) for v in evaluator.run(outputs, {n: v.astype(feeds[n].dtype) for n, v in given.items()})]
        narrow(feeds)
    except Exception as error:
        raise Skipped(f"the reference evaluator fails: {error}") from None
    wide = lambda given: [double(v) for v in evaluator.run(outputs, dict(given))]
    try:
        smooth = _is_smooth(wide, {n: double(v) if n in wrt else v for n, v in feeds.items()}, wrt)
    except Exception:  # not every operator of the evaluator takes float64 in place of float32
        smooth = False
    return (wide, True) if smooth else (narrow, False)


def _is_smooth(f: Callable[[Feeds], list[np.ndarray]], at: Feeds, wrt: list[str]) -> bool:
    """Whether steps of 1e-8 and of 2e-8 move the outputs in proportion, as they do unless something rounds to float32 on the way."""
    y, once, twice = (f({n: np.asarray(v + h) if n in wrt else v for n, v in at.items()}) for h in (0, 1e-8, 2e-8))
    moved = [(b - a, c - a) for a, b, c in zip(y, once, twice)]
    return all(q.any() and np.allclose(2 * p, q, rtol=1e-3, atol=1e-13 + 1e-3 * np.abs(q).max(initial=0)) for p, q in moved)


def loosened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a symbol of its own for every dimension of an input, and no other shape told."""
    for keep in ((), (onnx.TensorProto.INT64, onnx.TensorProto.INT32)):
        loose = onnx.ModelProto()
        loose.CopyFrom(model)
        del loose.graph.value_info[:]
        for i in loose.graph.input:
            dims = i.type.tensor_type.shape.dim
            if len(dims) != 1 or i.type.tensor_type.elem_type not in keep:
                for axis, d in enumerate(dims):
                    d.dim_param = f"{i.name}_{axis}"
        for o in loose.graph.output:
            for d in o.type.tensor_type.shape.dim:
                d.Clear()
        if runs(loose):
            return loose
    raise Skipped("ONNX takes the model at its own dimensions only")


def runs(model: onnx.ModelProto) -> bool:
    """Whether the model itself loads, here and in ONNX Runtime."""
    try:
        graph = onnxplain.load(model).graph()
        tape = Tape()
        env = graph.write(tape, {n: tape.input(n, t) for n, t in graph.inputs.items()})
        session(tape.build({n: env[n] for n in graph.outputs}).to_proto())
    except onnxplain.UnsupportedModelError:
        return True  # to be refused again, by name
    except Exception:
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbolic", action="store_true", help="every dimension of every input unknown")
    parser.add_argument("--op", help="one operator only")
    parser.add_argument("--verbose", action="store_true", help="say why a case was skipped, too")
    options = parser.parse_args()
    table: dict[str, Counter] = defaultdict(Counter)
    for v in verdicts(options.symbolic, options.op):
        table[v.op_type][v.status] += 1
        if v.status in ("fail", "refused", "disputed") or (v.why and options.verbose):
            print(f"{v.status:10s}{v.case}: {v.why[:200]}", flush=True)
    total = sum(table.values(), Counter())
    for name, counts in [*sorted(table.items()), ("all", total)]:
        print(f"{name:32s}" + "  ".join(f"{status} {count}" for status, count in sorted(counts.items())))
    return total["fail"] + total["refused"] > 0


if __name__ == "__main__":
    raise SystemExit(main())
