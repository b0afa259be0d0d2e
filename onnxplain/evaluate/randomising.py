"""Does the explanation depend on what the network learned? Its layers are drawn anew, and the maps should change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from zlib import crc32

import numpy as np
import onnx_ir as ir
from tqdm import tqdm

from ..checks import one_of, seed_fits
from ..errors import InputError, choose
from ..explainer import Explainer
from ..flow import LINEAR
from ..graph import Graph, reads
from ..model import Model, load
from .agreeing import SIMILARITIES, array_of
from .result import Result, rows_of
from .store import SETTINGS, Store
from .study import Study

LEARNED = ("batch_norm", "normalization", "recurrent")
"""The kinds of operators, beside the linear ones, whose constants a network has learned."""


def layers(model: Any) -> dict[str, list[str]]:
    """The layers that have weights, from the output to the input: name of the node → its initializers.

    Weights that reach a layer through nodes of constants alone, such as DequantizeLinear or Transpose, are its own. A bias that an
    Add brings is no layer's.
    """
    graph = load(model).raw
    active = graph.downstream(graph.inputs)
    found, taken = {}, set()
    for node in graph.nodes:
        if (node.op_type in LINEAR or node.kind in LEARNED) and not active.isdisjoint(reads(node)):
            own = [w for i in reads(node) if i not in active for w in _weights(graph, i) if w not in taken]
            if own:
                found[node.proto.name or node.outputs[0]] = own
                taken.update(own)
    return dict(reversed(found.items()))


def _weights(graph: Graph, name: str) -> list[str]:
    """The floats, and what is dequantised, among the initializers that a constant is made of."""
    if name in graph.constants:
        return [name] if graph.types[name].is_float and graph.constants[name].size > 1 else []
    node = graph.producer.get(name)
    if node is None:
        return []
    quantised = [node.inputs[0]] if node.op_type == "DequantizeLinear" and node.inputs[0] in graph.constants else []
    return quantised + [w for i in reads(node) if i not in quantised for w in _weights(graph, i)]


def redrawn(model: Any, weights: Iterable[str], seed: int = 0) -> Model:
    """The model with some initializers drawn anew.

    Floats of two axes or more become Gaussian with the tensor's own mean and deviation. Others (biases, statistics, which may have
    to be positive, and quantised weights) keep their values in another order.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto, onnx_ir.Model or Model
    weights : names of initializers
        See `layers`.
    seed : int, default 0
        Each tensor's draw depends on it and on the tensor's name alone.
    """
    seed_fits(seed)
    model = load(model)
    source = model.source.clone()
    for name in weights:
        value = source.graph.initializers[choose("initializer", name, source.graph.initializers)]
        assert value.const_value is not None
        value.const_value = ir.tensor(_drawn(value.const_value.numpy(), np.random.default_rng([seed, crc32(name.encode())])), value.dtype, name=name)
    return replace(model, source=source)


def _drawn(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
    if w.dtype.kind in "iub" or sum(d > 1 for d in w.shape) < 2:
        return random.permutation(w.ravel()).reshape(w.shape)
    wide = w.astype(np.float64)
    return random.normal(wide.mean(), wide.std(), w.shape).astype(w.dtype)


def randomisation(
    model: Any,
    X: Any,
    methods: Any,
    *,
    mode: str = "cascading",
    similarity: str = "spearman",
    absolute: bool = False,
    target: Any = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
    store: Any = None,
    progress: bool = False,
    **options: Any,
) -> Result:
    """How alike explanations stay when the network's layers are drawn anew (Adebayo et al. 2018).

    A method whose maps stay alike does not show what the network learned.

    Parameters
    ----------
    model, X, methods, target, names, store, progress, **options
        As for `compare`; the methods explain every drawn network, for the classes that the trained one is explained for.
    mode : "cascading" or "independent", default "cascading"
        All layers from the output down to this one are drawn anew, or this one alone.
    similarity : str, default "spearman"
        Of `SIMILARITIES`: spearman, ssim (images), top_k.
    absolute : bool, default False
        Compare magnitudes.
    seed : int, default 0

    Returns
    -------
    Result
        Its records have the columns "layer" and "depth", 1 for the layer next to the output.

    Raises
    ------
    InputError
        No layer has weights, or what is given does not fit.
    """
    one_of(mode, ("cascading", "independent"), "mode")
    alike = SIMILARITIES[choose("similarity", similarity, SIMILARITIES)]
    study = Study(load(model), methods, options, seed=seed)
    drawn: dict[str, list[str]] = {}
    for layer, weights in layers(study.model).items():
        drawn[layer] = weights + ([w for ws in drawn.values() for w in ws] if mode == "cascading" else [])
    if not drawn:
        raise InputError("the model has no layer with weights")
    records = []
    pieces = list(study.pieces(X, target, names))
    columns = ("method", "metric", "layer", "depth", "sample", "target", "value")
    with (
        Store(store, ("method", "metric", "layer", "sample"), columns) as kept,
        tqdm(desc="randomisation", total=len(drawn) * len(study.sources), unit="network", disable=not progress) as bar,
    ):
        for label, source in study.explainers.items():
            settings = study.settings(label, mode=mode, absolute=absolute, target=target)
            before = [array_of(study.explained(p, label), label, absolute) for p in pieces]
            for depth, (layer, weights) in enumerate(drawn.items(), 1):
                key = {"method": label, "metric": similarity, "layer": layer}
                explainer = None
                for piece, reference in zip(pieces, before):
                    own = piece.settings(settings)
                    lacking = [s for s in piece.names if not kept.has(own[s], **key, sample=s)]
                    if lacking:
                        explainer = explainer or Explainer(redrawn(study.model, weights, seed), source.method, **options)
                        after = array_of(explainer.explain(piece.feeds, piece.target), label, absolute)
                        rows = rows_of(piece.names, piece.targets, {**key, "depth": depth}, alike(reference, after))
                        kept.add([r | {SETTINGS: own[r["sample"]]} for r in rows if r["sample"] in lacking])
                    records += [kept.get(**key, sample=s) for s in piece.names]
                bar.update()
    return Result(records, along="layer")
