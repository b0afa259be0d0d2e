"""Write a report, from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..comparison.case import Case
from ..model import load

DEFAULT_METHODS = ("gradient", "integrated_gradients", "smoothgrad", "lrp")
"""What is shown where nobody says it."""


def report(
    model: Any,
    inputs: Any,
    methods: Sequence[Any] | Mapping[str, Any] = DEFAULT_METHODS,
    *,
    target: Any = None,
    names: Sequence[str] | None = None,
    pictures: Sequence[np.ndarray] | None = None,
    labels: Sequence[str] | None = None,
    vocabulary: Mapping[int, str] | None = None,
    curves: bool = True,
    title: str | None = None,
    command: str = "",
    progress: bool = False,
    output: str | None = None,
    wrt: str | Sequence[str] | None = None,
    fuse: bool | str = True,
    providers: Sequence[Any] | None = None,
    batch_size: int | None = None,
    **options: Any,
) -> str:
    """Explain a set of inputs in one HTML page that needs nothing from elsewhere.

    It shows what is known of the model, each input's best classes, each method's map over the input (texts and tables in their own
    way), the sums of the maps beside the scores, where propagated relevance is absorbed, deletion and insertion curves, and the
    versions of what made it. Whatever comes from outside is escaped.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto, onnx_ir.Model or Model
    inputs : array, or dict name → array
    methods : list, or dict label → method
        As for `onnxplain.comparison.compare`.
    target : optional
        As for `onnxplain.explain`.
    names, pictures, labels : optional
        Of the samples and classes, as for `onnxplain.plot.grid`.
    vocabulary : dict token id → text, optional
        For texts; by default the ids are shown.
    curves : bool, default True
        Deletion and insertion curves; they ask the model often.
    title, command : str, optional
        The page's heading, and the command that made it.
    progress : bool, default False
        Show progress bars.
    output, wrt, fuse, providers, batch_size
        See `onnxplain.Explainer`.
    **options
        See `onnxplain.plot.show`.

    Returns
    -------
    str
        The page: write it as UTF-8.
    """
    from .page import page

    loaded = load(model, fuse=fuse)
    bound = {"output": output, "wrt": wrt, "providers": providers, "batch_size": batch_size}
    feeds = dict(inputs) if isinstance(inputs, Mapping) else dict.fromkeys(list(loaded.inputs)[:1], np.asarray(inputs))
    case = Case(loaded, feeds, target, loaded.name, names, pictures, labels, bound, options)
    return page(case, methods, vocabulary, curves, title or f"Explanations of {loaded.name}", command, progress)
