"""Time explanations in forward passes of ONNX Runtime, interleaved in one run, and how long an Explainer takes to be ready.

python scripts/benchmarks/cost.py vgg16 resnet50 --method gradient guided_backprop --batch 4 --repeats 7
"""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile

import networks
import numpy as np
import onnx
import onnxruntime as ort
from tqdm import tqdm

import onnxplain
from onnxplain.bench import in_turns, timed


def measure(name: str, methods: list[tuple[str, dict]], batch: int, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / f"{name}.onnx")
        onnx.save(networks.NETWORKS[name](), path)
        x = np.random.default_rng(0).standard_normal((batch, 3, 224, 224), dtype=np.float32)
        target = np.zeros(batch, np.int64)
        load = lambda: ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        loads, readies = [], []
        for _ in range(3):
            loads.append(timed(load))
            readies.append(timed(lambda: onnxplain.Explainer(path, "gradient")._runner.session("plain", False)))
        forward = load()
        sessions = {}
        for label, (method, params) in [(" ".join([m, *(f"{k}={v}" for k, v in p.items())]), (m, p)) for m, p in methods]:
            explainer = onnxplain.Explainer(path, method, **params)
            session = explainer._runner.session("plain", False, batch)
            sessions[label] = lambda s=session, e=explainer: s.run({"input": x, e._runner.writer.target_name: target}, list(e._runner.writer.names.values()))
        actions = {"forward": lambda: forward.run(None, {"input": x}), **sessions}
        times = in_turns({k: lambda a=a: timed(a) for k, a in actions.items()}, repeats, tqdm(disable=True))
        base = float(np.median(times["forward"]))
        load_s, ready_s = np.median(loads), np.median(readies)
        print(f"{name}, batch {batch}: forward {1e3 * base:.0f} ms; load {load_s:.2f} s, Explainer ready {ready_s:.2f} s = {ready_s / load_s:.2f} x")
        for label in sessions:
            ratios = [t / f for t, f in zip(times[label], times["forward"])]
            middle = 1e3 * np.median(times[label])
            print(f"    {label:50s} {middle:7.0f} ms   {np.median(ratios):.2f} x  ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["vgg16", "resnet50"], metavar="NETWORK", help=", ".join(networks.NETWORKS))
    parser.add_argument("--method", nargs="+", default=["gradient"], help='names, or JSON such as \'["lrp", {"composite": "epsilon_plus_flat"}]\'')
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    methods = [tuple(json.loads(m)) if m.startswith("[") else (m, {}) for m in options.method]
    for name in options.networks:
        measure(name, methods, options.batch, options.repeats)


if __name__ == "__main__":
    main()
