"""Images per second of perturbation methods, relative to ONNX Runtime alone on as many forward passes, batch for batch, interleaved in one run.

python scripts/benchmarks/perturbation.py [MODEL.onnx | NETWORK ...] [--method occlusion rise lime kernel_shap] [--batch 16] [--repeats 5] [--memory]

--memory prints how far the process grows when RISE goes from 32 masks to 4000.
"""

from __future__ import annotations

import argparse
import pathlib
import resource
import tempfile
import time

import networks
import numpy as np
import onnx
import onnxruntime as ort

import onnxplain

ZOO = pathlib.Path(__file__).resolve().parents[3] / "shared" / "zoo" / "models" / "squeezenet1.1-zoo-fp32.onnx"
PASSES = 256
METHODS = {
    "occlusion": {"window": [7, 28]},  # 32 × 8 places
    "rise": {"samples": PASSES},
    "lime": {"samples": PASSES, "mask": {"by": "slic", "n_segments": 50}},
    "kernel_shap": {"samples": PASSES, "mask": {"by": "grid", "cells": 7}},
}


def timed(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def alone(session: ort.InferenceSession, x: np.ndarray, more: int, batch: int):
    """ONNX Runtime on as many images: the one explained, `more` single ones (baselines), and PASSES in batches."""
    name, single = session.get_inputs()[0].name, x[None]
    batches = [np.repeat(single, min(batch, PASSES - k), 0) for k in range(0, PASSES, batch)]

    def action() -> None:
        for feed in [single] * (1 + more) + batches:
            session.run(None, {name: feed})

    return action


def measure(path: str, methods: list[str], batch: int, repeats: int) -> None:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((3, 224, 224), dtype=np.float32)
    print(f"{pathlib.Path(path).stem}, batches of {batch}, {PASSES} perturbed images")
    for method in methods:
        explainer = onnxplain.Explainer(path, method, batch_size=batch, providers=["CPUExecutionProvider"], **METHODS[method])
        actions = {"alone": alone(session, x, int(method == "kernel_shap"), batch), "explain": lambda e=explainer: e.explain(x[None], 0)}
        times: dict[str, list[float]] = {k: [] for k in actions}
        for turn in range(repeats + 1):
            for key in sorted(actions, reverse=bool(turn % 2)):
                times[key].append(timed(actions[key]))
        ratios = [a / e for a, e in zip(times["alone"][1:], times["explain"][1:])]
        speed = PASSES / np.median(times["explain"][1:])
        print(f"    {method:12s} {speed:7.1f} images/s   {np.median(ratios):.3f} of ONNX Runtime alone  ({min(ratios):.3f} to {max(ratios):.3f})", flush=True)


def memory(path: str, batch: int) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
    peaks = []
    for samples in (2 * batch, 4000):
        onnxplain.Explainer(path, "rise", samples=samples, batch_size=batch, providers=["CPUExecutionProvider"]).explain(x, 0)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    whole = 4000 * 224 * 224 * 4 / 2**20
    print(
        f"RISE on {pathlib.Path(path).stem}: peak {peaks[0]:.0f} MiB with {2 * batch} masks, {peaks[1]:.0f} MiB with 4000 (all masks at once: {whole:.0f} MiB)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=[str(ZOO), "vgg16"] if ZOO.exists() else ["vgg16"], help=f"paths, or {', '.join(networks.NETWORKS)}")
    parser.add_argument("--method", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            path = model
            if model in networks.NETWORKS:
                path = str(pathlib.Path(folder) / f"{model}.onnx")
                onnx.save(networks.NETWORKS[model](), path)
            if options.memory:
                memory(path, options.batch)
            else:
                measure(path, options.method, options.batch, options.repeats)


if __name__ == "__main__":
    main()
