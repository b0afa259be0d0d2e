"""One framework in a process of its own: lines of JSON with what to do come in, lines with what was measured go out.

python peer_worker.py FRAMEWORK --threads 2 --device cpu, where FRAMEWORK is a key of FRAMEWORKS below. What is asked for:

{"do": "prepare", "file": …, "shape": [N, …], "method": …, "setups": 3}   load and run once      → {"setup": [seconds, …]}
{"do": "run", "method": …}                                                one batch              → {"seconds": …}
{"do": "forget", "method": …}                                             free it                → {}
{"do": "write", "network": …, "file": …}                                  PyTorch: make a file   → {}
{"do": "peak"}                                                            beyond the imports     → {"bytes": …}
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import os
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FORWARD = "forward"
THREADS = 2
DEVICE = "cpu"
BASE = 0
PROVIDERS = {"cpu": ["CPUExecutionProvider"], "cuda": [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]}
"""ONNX Runtime's; no framework may round products to TF32."""
WINDOWS = {4: (56, 56), 3: (13, 64)}
"""Sixteen windows over an image of 224 × 224, and over 200 steps of 64 features."""
LRP = {f"lrp {c}": c for c in ("epsilon", "preset_a", "epsilon_plus_flat", "epsilon_alpha2_beta1")}
SIX = ["gradient", "guided_backprop", "deconvnet", "lrp epsilon", "lrp epsilon_plus", "deep_taylor"]
STEPS = 16

Prepare = Callable[[str, np.ndarray, str], Callable[[], Any]]
"""A network's file, a batch and a method's name → what explains the batch once."""


class UnableError(Exception):
    """The framework lacks the method."""


# ---- ONNX Runtime ----


def ort_session(source):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = THREADS, 3
    if DEVICE == "cuda":
        ort.preload_dlls()
    return ort.InferenceSession(source, options, providers=PROVIDERS[DEVICE])


def by_onnxruntime(file: str, x: np.ndarray, method: str):
    if method != FORWARD:
        raise UnableError
    session = ort_session(file)
    return lambda: session.run(None, {"input": x})


def by_onnx_ad(file: str, x: np.ndarray, method: str):
    import onnx
    from onnx_ad import reverse

    if method != "gradient":
        raise UnableError
    model = onnx.load(file)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = len(x)
    session = ort_session(reverse(model, layout="onnx").SerializeToString())
    *_, seed = session.get_inputs()
    weight = np.zeros((len(x), seed.shape[1], 1), np.float32)
    weight[:, 0] = 1
    adjoint = session.get_outputs()[-1].name
    return lambda: session.run([adjoint], {"input": x, seed.name: weight})


# ---- onnxplain ----


def params_of(method: str, x: np.ndarray) -> dict:
    if method.startswith("lrp "):
        return {"method": "lrp", "composite": method.removeprefix("lrp ")}
    own = {"integrated_gradients": {"steps": STEPS}, "occlusion": {"window": list(WINDOWS[x.ndim])}}
    return {"method": method, **own.get(method, {})}


def by_onnxplain(file: str, x: np.ndarray, method: str):
    import onnxplain
    from onnxplain.bench import Task

    if method == "six methods":
        six = onnxplain.Explainers(file, {m: params_of(m, x) for m in SIX}, providers=PROVIDERS[DEVICE])
        return lambda: six.explain(x)
    return Task(file, {"input": x}, params_of(method, x), {"providers": PROVIDERS[DEVICE]}).ready()


def by_onnxplain_apart(file: str, x: np.ndarray, method: str):
    if method != "six methods":
        raise UnableError
    runs = [by_onnxplain(file, x, m) for m in SIX]
    return lambda: [run() for run in runs]


def limit_onnxplain() -> None:
    """The threads of all sessions that onnxplain makes."""
    os.environ["ONNXPLAIN_THREADS"] = str(THREADS)


# ---- PyTorch ----


def torch_parts(file: str, x: np.ndarray):
    """PyTorch, the model on the device, and what brings the batch there, as every framework must at every call."""
    import torch

    return torch, torch.load(file, weights_only=False).to(DEVICE), lambda: torch.from_numpy(x).to(DEVICE)


def by_torch(file: str, x: np.ndarray, method: str):
    torch, model, batch = torch_parts(file, x)

    def forward():
        with torch.no_grad():
            return model(batch()).cpu()

    def gradient():
        leaf = batch().requires_grad_()
        return torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)[0].cpu()

    for p in model.parameters():
        p.requires_grad_(False)
    if method not in (FORWARD, "gradient"):
        raise UnableError
    return forward if method == FORWARD else gradient


def by_captum(file: str, x: np.ndarray, method: str):
    from captum import attr

    if method not in ("gradient", "guided_backprop", "deconvnet", "lrp epsilon", "integrated_gradients", "occlusion"):
        raise UnableError
    _, model, batch = torch_parts(file, x)
    if method == "gradient":
        attributor, more = attr.Saliency(model), {"abs": False}
    elif method == "integrated_gradients":
        attributor, more = attr.IntegratedGradients(model), {"n_steps": STEPS, "internal_batch_size": STEPS}
    elif method == "occlusion":
        window = (3, *WINDOWS[4]) if x.ndim == 4 else WINDOWS[3]
        attributor, more = attr.Occlusion(model), {"sliding_window_shapes": window, "strides": window}
    else:
        attributor, more = {"guided_backprop": attr.GuidedBackprop, "deconvnet": attr.Deconvolution, "lrp epsilon": attr.LRP}[method](model), {}
    return lambda: attributor.attribute(batch().requires_grad_(), target=0, **more).detach().cpu()


def by_zennit(file: str, x: np.ndarray, method: str):
    from zennit import attribution, composites, rules
    from zennit import types as kinds

    epsilon = lambda: composites.LayerMapComposite([(kinds.Activation, rules.Pass()), (kinds.Linear, rules.Epsilon())])
    made = {
        "guided_backprop": composites.GuidedBackprop,
        "deconvnet": composites.DeconvNet,
        "lrp epsilon": epsilon,
        "lrp preset_a": composites.EpsilonPlus,
        "lrp epsilon_plus_flat": composites.EpsilonPlusFlat,
        "lrp epsilon_alpha2_beta1": composites.EpsilonAlpha2Beta1,
    }
    if method not in made:
        raise UnableError
    torch, model, batch = torch_parts(file, x)
    attributor = attribution.Gradient(model, made[method]())
    attributor.__enter__()
    seed = torch.eye(list(model.parameters())[-1].numel())[[0] * len(x)].to(DEVICE)  # the last bias has an element a class
    return lambda: attributor(batch().requires_grad_(), seed)[1].cpu()  # hooks stay on this copy of the model


# ---- TensorFlow ----


def by_innvestigate(file: str, x: np.ndarray, method: str):
    """Keras' own VGG16 with random weights; iNNvestigate 2 wants graphs, not eager execution."""
    import tensorflow as tf
    from innvestigate import create_analyzer

    names = {"guided_backprop": "guided_backprop", "deconvnet": "deconvnet", "gradient": "gradient"}
    names |= {"lrp epsilon": "lrp.epsilon", "lrp preset_a": "lrp.sequential_preset_a"}
    if Path(file).stem != "vgg16" or method not in (FORWARD, *names):
        raise UnableError
    model = tf.keras.applications.VGG16(weights=None, classifier_activation=None)
    images = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    if method == FORWARD:
        return lambda: model.predict_on_batch(images)
    analyzer = create_analyzer(names[method], model)
    analyzer.create_analyzer_model()
    return lambda: analyzer.analyze(images)


def stub_torchvision() -> None:
    """Zennit imports two classes of torchvision, which only its canonizers for those need."""
    resnet = types.ModuleType("torchvision.models.resnet")
    resnet.Bottleneck, resnet.BasicBlock = type("Bottleneck", (), {}), type("BasicBlock", (), {})
    names = ("torchvision", "torchvision.models", "torchvision.models.resnet")
    sys.modules.update(zip(names, (types.ModuleType(names[0]), types.ModuleType(names[1]), resnet)))


# ---- what is asked ----

FRAMEWORKS: dict[str, tuple[Prepare, str, list[str]]] = {
    "ONNX Runtime": (by_onnxruntime, "onnxruntime-gpu|onnxruntime", ["onnxruntime"]),
    "onnxplain": (by_onnxplain, "onnxplain", ["onnxplain", "onnxplain.bench"]),
    "onnxplain, apart": (by_onnxplain_apart, "onnxplain", ["onnxplain", "onnxplain.bench"]),
    "PyTorch": (by_torch, "torch", ["torch"]),
    "captum": (by_captum, "captum", ["captum.attr"]),
    "zennit": (by_zennit, "zennit", ["zennit.attribution", "zennit.composites"]),
    "onnx-ad": (by_onnx_ad, "onnx-ad", ["onnxruntime", "onnx_ad"]),
    "iNNvestigate": (by_innvestigate, "innvestigate", ["tensorflow", "innvestigate"]),
}
OWN = {"PyTorch": "PyTorch", "captum": "PyTorch", "zennit": "PyTorch", "iNNvestigate": "iNNvestigate"}
"""The forward passes that count as a framework's own; ONNX Runtime's for the others."""


def start(framework: str) -> tuple[Prepare, str]:
    """Import what is to be timed, with the threads that all frameworks get."""
    prepare, distributions, modules = FRAMEWORKS[framework]
    if framework == "zennit":
        stub_torchvision()
    for m in modules:
        importlib.import_module(m)
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        torch.set_num_threads(THREADS)
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = False, True  # as ONNX Runtime tries out kernels, too
    if framework.startswith("onnxplain"):
        limit_onnxplain()
    if framework == "iNNvestigate":
        tf = sys.modules["tensorflow"]
        tf.compat.v1.disable_eager_execution()
        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    return prepare, version(distributions.split("|"))


def version(distributions: list[str]) -> str:
    for name in distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    raise SystemExit(f"{' and '.join(distributions)} are not installed")


def timed(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def peak() -> int | None:
    """The most bytes that this process has held so far, where Linux says it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)


def setup(prepare: Prepare, file: str, x: np.ndarray, method: str, forms) -> float:
    """Seconds from the network's file to what is ready to run; onnxplain makes the sessions it will need, which it else does at first need."""

    def action() -> None:
        run = prepare(file, x, method)
        for form in forms:
            run.explainer._runner.session(*form)  # type: ignore[attr-defined]

    return timed(action)


class Worker:
    """What is ready to run, by method."""

    def __init__(self, prepare: Prepare) -> None:
        self.make, self.ready = prepare, {}

    def prepare(self, file: str, shape: list[int], method: str, setups: int = 0) -> dict:
        x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        try:
            self.ready[method] = run = self.make(file, x, method)
            run()
        except UnableError:
            return {"unable": True}
        except Exception as error:
            self.ready.pop(method, None)
            return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:200]}
        return {"setup": [setup(self.make, file, x, method, getattr(run, "forms", ())) for _ in range(setups)]}

    def run(self, method: str) -> dict:
        return {"seconds": timed(self.ready[method])}

    def forget(self, method: str) -> dict:
        self.ready.pop(method, None)
        gc.collect()
        return {}

    def write(self, network: str, file: str) -> dict:
        """A network of PyTorch."""
        import torch
        import torch_networks

        torch.save(torch_networks.network(network), file)
        return {}

    def peak(self) -> dict:
        return {"bytes": None if (now := peak()) is None else now - BASE}


def main() -> None:
    global BASE, DEVICE, THREADS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("framework", choices=list(FRAMEWORKS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=list(PROVIDERS), default="cpu")
    options = parser.parse_args()
    DEVICE, THREADS = options.device, options.threads
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # what frameworks print must not mix with the answers
    say = lambda answer: print(json.dumps(answer), file=answers, flush=True)
    prepare, found = start(options.framework)
    worker, BASE = Worker(prepare), peak() or 0
    say({"version": found})
    for line in sys.stdin:
        asked = json.loads(line)
        say(getattr(worker, asked.pop("do"))(**asked))


if __name__ == "__main__":
    main()
