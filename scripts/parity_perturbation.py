"""LIME and KernelSHAP beside the packages `lime` and `shap`, on the coalitions that these draw: prints the worst difference.

pip install onnxplain lime shap; python scripts/parity_perturbation.py
"""

from __future__ import annotations

import pathlib

import numpy as np
import onnxruntime as ort
import shap
from lime.lime_image import LimeImageExplainer

import onnxplain

MODEL = str(pathlib.Path(__file__).resolve().parents[1] / "models" / "digits.onnx")
CLASS, SIDE = 3, 28


class Recorder(LimeImageExplainer):
    """LIME that remembers which coalitions it drew."""

    def data_labels(self, *args, **kwargs):
        self.coalitions, labels = super().data_labels(*args, **kwargs)
        return self.coalitions, labels


def difference(name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    worst = np.abs(ours - theirs).max() / np.abs(theirs).max()
    print(f"{name:50s} {len(theirs):3d} features   worst difference {worst:.1e} of the largest value", flush=True)


def main() -> None:
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    stroke = (np.abs(rows - 14) < 8) & ((np.abs(columns - 14) < 2) | (rows % 7 < 2)) & (np.abs(columns - 14) < 6)
    x = (stroke + 0.1 * random.random((SIDE, SIDE))).astype(np.float32)[None, None]
    session = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    logits = lambda pictures: session.run(["logits"], {name: pictures.astype(np.float32)})[0]

    for cells, samples in (((2, 5), "auto"), ((4, 4), 700), ((6, 6), 1500)):
        mask = (np.arange(SIDE) * cells[0] // SIDE)[:, None] * cells[1] + np.arange(SIDE) * cells[1] // SIDE
        features, firsts = cells[0] * cells[1], np.unique(mask, return_index=True)[1]
        game = lambda z, mask=mask: logits(np.stack([row[mask] * x[0] for row in z]))[:, CLASS]
        explainer = shap.KernelExplainer(game, np.zeros((1, features)), link="identity")
        theirs = explainer.shap_values(np.ones((1, features)), nsamples=samples, l1_reg=0, silent=True)[0]
        drawn, weights = explainer.maskMatrix[: explainer.nsamplesAdded], explainer.kernelWeights[: explainer.nsamplesAdded]
        e = onnxplain.explain(MODEL, x, "kernel_shap", mask=mask, coalitions=drawn, weights=weights, target=CLASS)
        difference(f"kernel_shap, {len(drawn)} coalitions of shap", e.attribution.reshape(-1)[firsts], theirs)
        if samples == "auto":
            for method, params in (("kernel_shap", {"samples": 2**features}), ("exact_shapley", {})):
                e = onnxplain.explain(MODEL, x, method, mask=mask, target=CLASS, **params)
                difference(f"{method}, every coalition", e.attribution.reshape(-1)[firsts], theirs)

    picture = np.repeat(x[0, 0][..., None], 3, -1).astype(np.float64)
    for cells, width, samples in ((4, 0.25, 300), (7, 0.25, 1000), (7, 0.5, 1000)):
        mask = (np.arange(SIDE) * cells // SIDE)[:, None] * cells + np.arange(SIDE) * cells // SIDE
        recorder = Recorder(kernel_width=width, random_state=0, feature_selection="none")
        probabilities = lambda pictures: np.exp(p := logits(pictures[..., :1].transpose(0, 3, 1, 2))) / np.exp(p).sum(1, keepdims=True)
        told = recorder.explain_instance(
            picture,
            probabilities,
            labels=(CLASS,),
            top_labels=None,
            hide_color=0,
            num_samples=samples,
            segmentation_fn=lambda _, mask=mask: mask,
        )
        theirs = np.array([value for _, value in sorted(told.local_exp[CLASS])])
        e = onnxplain.explain(MODEL, x, "lime", mask=mask, coalitions=recorder.coalitions, kernel_width=width, probability=True, target=CLASS)
        difference(f"lime, {samples} coalitions of lime, width {width}", e.attribution.reshape(-1)[np.unique(mask, return_index=True)[1]], theirs)


if __name__ == "__main__":
    main()
