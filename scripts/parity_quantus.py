"""Compare the metrics that Quantus has too: python scripts/parity_quantus.py

Needs Quantus and PyTorch (`pip install quantus torch`), which onnxplain itself never imports. The digit classifier answers both
sides, the attributions and what is drawn are the same; printed is each metric's worst difference, relative to its largest value.
Where Quantus computes something else on purpose, docs/evaluating.md says so.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
MODEL = ROOT / "models" / "digits.onnx"
LIMIT = 1e-4

import onnxplain  # noqa: E402
from onnxplain import evaluate  # noqa: E402
from onnxplain.evaluate.study import Study  # noqa: E402
from onnxplain.model import load  # noqa: E402

warnings.simplefilter("ignore")
# Quantus calls what NumPy 2.4 no longer has, and imports all of zennit, which wants torchvision.
np.trapz = getattr(np, "trapz", np.trapezoid)  # type: ignore[attr-defined]
_find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "zennit" else _find(name, *rest)
import quantus  # noqa: E402


class Network(torch.nn.Module):
    """The ONNX file, asked as a module."""

    def __init__(self) -> None:
        super().__init__()
        self.session = ort.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.session.run(None, {"image": x.numpy().astype(np.float32)})[0])


X = np.stack([np.asarray(Image.open(MODEL.parent / "digits" / f"{k}.png"), np.float32)[None] / 255 for k in range(10)])
EXPLANATION = onnxplain.explain(MODEL, X, "gradient")  # no two elements alike, whose order would be chance
A, Y = EXPLANATION.attribution.astype(np.float64), EXPLANATION.target
INSIDE = X[:, 0] > 0.5
MEASURED: dict[str, Callable[[], tuple[Any, Any]]] = {}


def measured(function: Callable[[], tuple[Any, Any]]) -> Callable[[], tuple[Any, Any]]:
    MEASURED[function.__name__] = function
    return function


def own(metric: Any, a: np.ndarray = A, **params: Any) -> evaluate.Result:
    return metric(MODEL, X, {"a": a}, target=Y, **params)


def values(result: evaluate.Result) -> np.ndarray:
    return np.array([r["value"] for r in result])


def theirs(metric: Any, a: np.ndarray = A, s: np.ndarray | None = None, **rest: Any) -> np.ndarray:
    return np.array(metric(model=Network().eval(), x_batch=X, y_batch=Y, a_batch=a.copy(), s_batch=s, device="cpu", **rest))


@measured
def pixel_flipping() -> tuple[Any, Any]:
    """The curves of the probability, without the unchanged input, which Quantus leaves out."""
    metric = quantus.PixelFlipping(features_in_step=28, perturb_baseline=0.2, disable_warnings=True)
    return np.array([r["curve"][1:] for r in own(evaluate.deletion, steps=28, fill=0.2, probability=True)]), theirs(metric, softmax=True)


@measured
def infidelity_of_one_block() -> tuple[Any, Any]:
    """The whole image as one block; of several, Quantus removes one after the other and never puts them back."""
    metric = quantus.Infidelity(perturb_baseline=0.2, perturb_patch_sizes=[28], n_perturb_samples=1, disable_warnings=True)
    return values(own(evaluate.infidelity, perturbation="remove", region=28, fill=0.2)), theirs(metric)


@measured
def max_sensitivity() -> tuple[Any, Any]:
    study = Study(load(MODEL), "gradient", {})
    (first, second) = study.pieces(X, Y.tolist())
    noise = [np.concatenate([study.case(p, "gradient").drawn((1, 28, 28), k, salt="image", uniform=True) for p in (first, second)]) for k in range(5)]
    draws = iter(noise)
    perturb = lambda arr, indices, **rest: arr + 0.02 * next(draws).reshape(arr.shape) * np.ptp(arr, axis=1, keepdims=True)
    explain = lambda model, inputs, targets, **rest: onnxplain.explain(MODEL, inputs.astype(np.float32), "gradient", target=list(targets)).attribution
    metric = quantus.MaxSensitivity(nr_samples=5, perturb_func=perturb, abs=False, normalise=False, disable_warnings=True)
    return values(evaluate.max_sensitivity(MODEL, X, "gradient", target=Y, samples=5)), theirs(metric, explain_func=explain)


@measured
def sparseness() -> tuple[Any, Any]:
    return values(own(evaluate.sparseness)), theirs(quantus.Sparseness(disable_warnings=True))


@measured
def complexity() -> tuple[Any, Any]:
    return values(own(evaluate.complexity)), theirs(quantus.Complexity(disable_warnings=True))


@measured
def pointing_game() -> tuple[Any, Any]:
    return values(own(evaluate.pointing_game, inside=INSIDE)), theirs(quantus.PointingGame(disable_warnings=True), s=INSIDE[:, None])


@measured
def relevance_mass() -> tuple[Any, Any]:
    """Of what is positive: Quantus lets negative relevance count against the sum."""
    a = np.maximum(A, 0)
    return values(own(evaluate.relevance_mass, inside=INSIDE)), theirs(quantus.RelevanceMassAccuracy(disable_warnings=True), a, INSIDE[:, None])


@measured
def relevance_rank() -> tuple[Any, Any]:
    return values(own(evaluate.relevance_rank, inside=INSIDE)), theirs(quantus.RelevanceRankAccuracy(disable_warnings=True), s=INSIDE[:, None])


@measured
def spearman() -> tuple[Any, Any]:
    b = onnxplain.explain(MODEL, X, "lrp").attribution
    flat = lambda v: v.reshape(len(v), -1)
    return values(evaluate.agreement({"a": A, "b": b})), quantus.similarity_func.correlation_spearman(flat(A), flat(b), batched=True)


def main() -> int:
    worst = 0.0
    for name, compare in MEASURED.items():
        a, b = (np.asarray(v, np.float64) for v in compare())
        difference = float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) if a.shape == b.shape else np.inf
        worst = max(worst, difference)
        print(f"{name:<26}{difference:.1e}  {a.size} numbers")
    print(f"worst: {worst:.1e}, allowed: {LIMIT:.0e}")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
