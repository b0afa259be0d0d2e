"""Compare explanations, from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..model import load

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT_METHODS = ("gradient", "input_x_gradient", "integrated_gradients", "smoothgrad", "guided_backprop", "deconvnet", "deep_taylor", "lrp")
"""What is compared where nobody says it."""


def compare(
    model: Any,
    inputs: Any,
    methods: Sequence[Any] | Mapping[str, Any] = DEFAULT_METHODS,
    *,
    target: Any = None,
    targets: Sequence[Any] | None = None,
    vary: Sequence[tuple[Any, str, Sequence[Any]]] | None = None,
    visuals: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
    pictures: Sequence[Any] | None = None,
    labels: Sequence[str] | None = None,
    transpose: bool = False,
    progress: bool = False,
    output: str | None = None,
    wrt: str | Sequence[str] | None = None,
    fuse: bool | str = True,
    providers: Sequence[Any] | None = None,
    batch_size: int | None = None,
    **options: Any,
) -> Figure:
    """Draw explanations side by side: a row for each method, a column for each input, class, model or value of a parameter.

    The methods share the model's forward pass as `onnxplain.Explainers` do. Over each column stand the input, the best class with
    its probability (of models that end in scores their Softmax) and the explained score. Each cell has its own scale of colours.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto, onnx_ir.Model or Model, or dict label → one of these
        Several models: a column for each, which explains its one input.
    inputs : array, or dict name → array
        A batch; for several models a dict label → batch of one sample.
    methods : list, or dict label → method
        Names, dicts {"method": name, **params}, also with a "visual", the technique of this row.
    target : optional
        As for `onnxplain.explain`.
    targets : list, optional
        Several targets of one input: a column for each.
    vary : list of (method, parameter, values), optional
        In place of methods: a row for each, a column for each value, for one input.
    visuals : list of str or Visual, optional
        Techniques of `onnxplain.plot.visuals()`: each method that has none of its own is drawn by all of them.
    names, pictures, labels : optional
        Of the samples and classes, as for `onnxplain.plot.grid`.
    transpose : bool, default False
        Methods in columns.
    progress : bool, default False
        Show a progress bar.
    output, wrt, fuse, providers, batch_size
        See `onnxplain.Explainer`.
    **options
        See `onnxplain.plot.show`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        More than one input where classes, models or values are compared; what `Explainers` and `show` refuse.
    """
    from .case import Case
    from .layouts import by_classes, by_inputs, by_models, by_values

    bound = {"output": output, "wrt": wrt, "providers": providers, "batch_size": batch_size}

    def case(model: Any, x: Any, name: str = "") -> Case:
        return Case(load(model, fuse=fuse), x, target, name, names, pictures, labels, bound, options)

    if sum(given is not None for given in (targets, vary, model if isinstance(model, Mapping) else None)) > 1:
        raise InputError("compare either classes (targets=), or values (vary=), or models")
    if isinstance(model, Mapping):
        if not model:
            raise InputError("no model was given: wanted a dict label → model")
        if not isinstance(inputs, Mapping) or set(inputs) != set(model):
            raise InputError(f"inputs must be a dict with a batch for each of the models {', '.join(map(repr, model))}")
        table = by_models([case(m, inputs[label], label) for label, m in model.items()], methods, visuals, progress)
    elif vary is not None:
        table = by_values(case(model, inputs), vary, progress)
    elif targets is not None:
        table = by_classes(case(model, inputs), methods, targets, visuals, progress)
    else:
        table = by_inputs(case(model, inputs), methods, visuals, progress)
    return (table.transposed() if transpose else table).figure()
