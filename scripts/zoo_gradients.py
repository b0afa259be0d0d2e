"""Compare the input gradient of every model in a folder with finite differences along random directions.

    python scripts/zoo_gradients.py ../shared/zoo/models [--only NAME]

Directions are random signs times the size of the gradient, so that rounding in float32 does not drown the slope; of several
step sizes the two neighbours that agree best are taken: there neither a kink nor rounding speaks.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import sys
import time

import numpy as np

import onnxplain
from onnxplain.session import Session
from onnxplain.tape import Tape

STEPS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


def example(name: str, type_, rng: np.random.Generator) -> np.ndarray:
    """A plausible input: small token ids, or smooth noise."""
    shape = [d if isinstance(d, int) else 2 if i == 0 else (48, 192)[i - 2] if len(type_.shape) == 4 else 24 for i, d in enumerate(type_.shape)]
    if not type_.is_float:
        return np.full(shape, 16000, type_.dtype) if not shape else rng.integers(1, 50, shape).astype(type_.dtype)
    return (rng.standard_normal(shape) * (50 if type_.dtype == np.float16 else 1)).astype(type_.dtype)


def check(path: pathlib.Path, rng: np.random.Generator) -> str:
    started = time.perf_counter()
    explainer = onnxplain.Explainer(path, "gradient")
    q = explainer.question
    feeds = {n: example(n, t, rng) for n, t in q.graph.inputs.items()}
    explanation = explainer.explain(feeds)
    seconds = time.perf_counter() - started
    # The model again, with the attributed tensors as inputs of their own.
    tape = Tape()
    env = q.graph.write(tape, {n: tape.input(n, q.graph.types[n]) for n in dict.fromkeys([*q.graph.inputs, *q.wrt])})
    session = Session(tape.build({"score": env[q.output]}))
    tape = Tape()
    values = q.graph.write(tape, {n: tape.input(n, t) for n, t in q.graph.inputs.items()})
    at = Session(tape.build({f"at/{n}": values[n] for n in q.wrt})).run(feeds)
    point = feeds | {n: at[f"at/{n}"] for n in q.wrt}
    worst, told = 0.0, 0
    for name, gradient in explanation.attributions.items():
        if gradient.shape != point[name].shape or not np.isfinite(gradient).all():
            return f"FAIL {name}: shape {gradient.shape}, finite {np.isfinite(gradient).all()}"
        size = np.abs(gradient.astype(np.float64))
        for _ in range(3):
            u = rng.choice([-1.0, 1.0], gradient.shape, p=[0.25, 0.75]) * np.sign(gradient) * size / max(size.max(), 1e-30)
            slopes = []
            for h in STEPS if gradient.dtype != np.float16 else (1, 3, 10, 30, 100):
                sides = []
                for sign in (1, -1):
                    y = session.run(point | {name: (point[name] + sign * h * u).astype(gradient.dtype)})["score"].astype(np.float64)
                    sides.append(sum(y[(i, *np.atleast_1d(t))] for i, t in enumerate(explanation.target)))
                slopes.append((sides[0] - sides[1]) / (2 * h))
            own = float((gradient.astype(np.float64) * u).sum())
            gap, slope = min((abs(a - b), b) for a, b in itertools.pairwise(slopes))
            if gap < 0.05 * max(abs(slope), abs(own)):
                told += 1
                worst = max(worst, (abs(own - slope) - gap) / max(abs(own), abs(slope)))
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
