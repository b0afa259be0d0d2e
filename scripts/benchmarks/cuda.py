"""Check and time explanations on a CUDA device: what falls to the CPU, and milliseconds beside a forward pass, as they come and recorded.

python scripts/benchmarks/cuda.py vgg16 resnet50 --method gradient "lrp epsilon_plus_flat" --batch 16

Batches come from the host and attributions go back there. `recorded` is `enable_cuda_graph`, and how far
its attributions are from the others', in parts of the largest. `on the CPU` lists nodes that took or gave floats.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile
from collections import Counter
from collections.abc import Callable
from typing import Any

import networks
import numpy as np
import onnx
import onnxruntime as ort
from peer_worker import LRP, PROVIDERS, params_of
from tqdm import tqdm

import onnxplain
from onnxplain import session
from onnxplain.bench import in_turns, timed

METHODS = ["gradient", "guided_backprop", "deconvnet", *LRP, "deeplift", "integrated_gradients"]
ANY = ["gradient", "integrated_gradients"]
CUDA = PROVIDERS["cuda"]
RECORDED = [(CUDA[0][0], {**CUDA[0][1], "enable_cuda_graph": "1"}), *CUDA[1:]]


def explainer_of(file: str, x: np.ndarray, method: str, providers: list[Any]) -> Callable[[], Any]:
    made = onnxplain.Explainer(file, **params_of(method, x), providers=providers)
    return lambda: made.explain(x, target=0).attribution


def watched(file: str, x: np.ndarray, method: str, folder: str) -> Counter[str]:
    """The operators that took or gave floats on the CPU in a run, and how often."""
    plain, found = session.options, Counter()

    def profiling() -> ort.SessionOptions:
        o = plain()
        o.enable_profiling, o.profile_file_prefix = True, f"{folder}/run"
        return o

    session.options = profiling
    try:
        made = onnxplain.Explainer(file, **params_of(method, x), providers=CUDA)
        made.explain(x, target=0)
    finally:
        session.options = plain
    for s in made._runner._sessions.values():
        for e in json.loads(pathlib.Path(s._session.end_profiling()).read_text()):
            told = e.get("args", {})
            if e["cat"] == "Node" and told.get("provider") == "CPUExecutionProvider":
                types = {t for shapes in (*told["input_type_shape"], *told["output_type_shape"]) for t in shapes}
                found[told["op_name"]] += bool(types & {"float", "float16", "double"})
    return +found


def measure(name: str, methods: list[str], batch: int, repeats: int) -> None:
    x = np.random.default_rng(0).standard_normal((batch, *networks.SHAPES[name]), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/{name}.onnx"
        onnx.save(networks.NETWORKS[name](), file)
        ort.preload_dlls()
        forward = ort.InferenceSession(file, session.options(), providers=CUDA)
        for method in methods:
            actions = {"forward": lambda: forward.run(None, {"input": x}), "run": explainer_of(file, x, method, CUDA)}
            actions["recorded"] = explainer_of(file, x, method, RECORDED)
            times = in_turns({k: lambda a=a: timed(a) for k, a in actions.items()}, repeats, tqdm(disable=True))
            ms = {k: 1e3 * np.array(v) for k, v in times.items()}
            cells = [f"{k} {np.median(v):7.2f} ms = {np.median(v / ms['forward']):5.2f} x" for k, v in ms.items()]
            run, recorded = actions["run"](), actions["recorded"]()
            apart = np.abs(run - recorded).max() / np.abs(run).max()
            on_cpu = ", ".join(f"{n} {op_type}" for op_type, n in watched(file, x, method, folder).items()) or "nothing"
            print(f"{name:13s} {method:26s} {'   '.join(cells)}   apart by {apart:.0e}   on the CPU: {on_cpu}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = [n for n in networks.NETWORKS if n not in ("vit_s16", "lstm")]
    parser.add_argument("networks", nargs="*", default=usual, metavar="NETWORK", help=", ".join(networks.NETWORKS))
    parser.add_argument("--method", nargs="+", help=f"default: {', '.join(METHODS)}; of networks without ReLUs {', '.join(ANY)}")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    for name in options.networks:
        measure(name, options.method or (ANY if name.startswith(("vit", "lstm")) else METHODS), options.batch, options.repeats)


if __name__ == "__main__":
    main()
