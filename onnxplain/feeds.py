"""Check what a caller gives as input: every array by name, of the right dtype and shape, or one clear line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import InputError
from .question import Question
from .tape import Type

Arrays = dict[str, np.ndarray]


def feeds_of(question: Question, inputs: Any) -> Arrays:
    """The inputs by name."""
    types = question.graph.inputs
    listed = ", ".join(map(repr, types))
    if not isinstance(inputs, Mapping):
        if len(types) != 1:
            raise InputError(f"the model has {len(types)} inputs: give a dict with {listed}")
        inputs = {next(iter(types)): inputs}
    wrong = [f"{n!r} is none of them" for n in inputs if n not in types] + [f"{n!r} is missing" for n in types if n not in inputs]
    if wrong:
        raise InputError(f"the model's inputs are {listed}; {'; '.join(wrong)}")
    return {n: checked(n, inputs[n], t, question.axis(n)) for n, t in types.items()}


def batch_of(question: Question, feeds: Arrays) -> int:
    """How many samples they hold."""
    sizes = {n: v.shape[a] for n, v in feeds.items() if (a := question.axis(n)) is not None}
    if len(set(sizes.values())) > 1:
        raise InputError(f"the inputs' batch sizes differ: {', '.join(f'{n} has {d}' for n, d in sizes.items())}")
    if 0 in sizes.values():
        raise InputError("the batch is empty: wanted at least one sample")
    return next(iter(sizes.values()), 1)


def checked(name: str, value: Any, wanted: Type, axis: int | None) -> np.ndarray:
    """An input as an array of the right dtype and shape, or one clear line."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise InputError(f"input {name!r} is no regular array: wanted {wanted}") from None
    if wanted.dtype is None:
        raise InputError(f"input {name!r} is not a tensor: only tensors can be given")
    if array.dtype != wanted.dtype:
        accepted = "fiu" if wanted.is_float else {"i": "iu", "u": "iu", "b": "b", "O": "U"}.get(wanted.dtype.kind, "")
        if array.dtype.kind not in accepted:
            raise InputError(f"input {name!r} has dtype {array.dtype}, wanted {wanted.dtype}")
        with np.errstate(over="ignore"):  # infinity is refused below
            given, array = array, array.astype(wanted.dtype)
        if wanted.dtype.kind in "iu" and not np.array_equal(given, array):
            raise InputError(f"input {name!r} holds integers from {given.min()} to {given.max()}, which {wanted.dtype} cannot hold")
    shape = wanted.shape
    if shape is not None and (len(shape) != array.ndim or any(isinstance(d, int) and d != e and a != axis for a, (d, e) in enumerate(zip(shape, array.shape)))):
        one = axis == 0 and len(shape) == array.ndim + 1
        raise InputError(f"input {name!r} has shape {list(array.shape)}, wanted {wanted}{': a single sample is a batch of one, x[None]' if one else ''}")
    if wanted.is_float and not np.isfinite(array).all():
        raise InputError(f"input {name!r} holds NaN or infinity")
    return np.asarray(array, order="C")
