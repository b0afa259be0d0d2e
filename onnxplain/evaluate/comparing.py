"""Methods against metrics, sample by sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ..errors import InputError, choose
from ..model import load
from .metric import METRICS
from .result import Result, rows_of
from .store import SETTINGS, Store
from .study import Study


def compare(
    model: Any,
    X: Any,
    methods: Any,
    metrics: Any = ("deletion_auc", "insertion_auc"),
    *,
    target: Any = None,
    inside: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    probability: bool = False,
    seed: int = 0,
    store: Any = None,
    progress: bool = False,
    **options: Any,
) -> Result:
    """Measure the explanations of several methods by several metrics.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto, onnx_ir.Model or Model
    X : array, dict name → array, or iterable of these
        The samples, all at once or batch by batch.
    methods : str, Method, dict, Explanation, or several of these
        Names of `onnxplain.methods()` or `BASELINES`; {"method": name, **params}; or what was explained before, as an Explanation of
        all samples. A list of them, or a dict with the labels to use in the results, which may hold plain arrays too.
    metrics : str, list of str, or dict name → parameters, default deletion_auc and insertion_auc
        Names of `METRICS`.
    target : optional
        As for `onnxplain.explain`; None is each sample's argmax, the same for all methods.
    inside : bool array [N, H, W], optional
        Where each sample's object is, for metrics of localisation.
    names : list of str, optional
        Unique names of the samples; by default their numbers.
    probability : bool, default False
        Ask for the explained class's probability instead of its score.
    seed : int, default 0
        The seed of all that the metrics draw at random. Each sample draws its own numbers: no split of the data changes them.
    store : path of a .csv or .parquet file, optional
        Rows are written there sample by sample; a run that was stopped goes on where it was.
    progress : bool, default False
    **options
        output, wrt, fuse, providers, batch_size: as for `onnxplain.Explainer`.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        Names and parameters that are not known, data that do not fit, or a `store` made with other settings.
    """
    study = Study(load(model), methods, options, probability, seed)
    chosen = metrics_of(metrics)
    settings = {(m, k): study.settings(m, metric=k, params=p, target=target, inside=inside) for m in study.sources for k, p in chosen.items()}
    keys: list[dict[str, str]] = []
    with Store(store, ("method", "metric", "sample"), ("method", "metric", "sample", "target", "value", "at", "curve")) as kept:
        for piece in study.pieces(X, target, names, progress):
            for label in study.sources:
                case = cache(lambda piece=piece, label=label: study.case(piece, label, inside))
                for k, params in chosen.items():
                    columns = {"method": label, "metric": k}
                    keys += [columns | {"sample": s} for s in piece.names]
                    own = piece.settings(settings[label, k])
                    lacking = [s for s in piece.names if not kept.has(own[s], **columns, sample=s)]
                    if lacking:
                        rows = rows_of(piece.names, piece.targets, columns, METRICS[k].measure(case(), params))
                        kept.add([r | {SETTINGS: own[r["sample"]]} for r in rows if r["sample"] in lacking])
        return Result([kept.get(**key) for key in keys])


def metrics_of(metrics: Any) -> dict[str, Mapping[str, Any]]:
    """Names, or names with parameters, checked."""
    names = [metrics] if isinstance(metrics, str) else metrics
    if not isinstance(names, Iterable):
        raise InputError(f"metrics must be a name, a list of names or a dict name → parameters, got {metrics!r}")
    pairs = names.items() if isinstance(names, Mapping) else [(name, {}) for name in names]
    given: dict[str, Mapping[str, Any]] = {choose("metric", name, METRICS): params for name, params in pairs}
    for name, params in given.items():
        METRICS[name].check(params)
    if not given:
        raise InputError("no metric was named")
    return given
