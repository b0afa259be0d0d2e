"""What parameters must be: each check is one clear line that names the parameter, what was wanted and what came."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from .errors import InputError, told
from .tape import is_float


def require(condition: bool, message: str) -> None:
    """A parameter's check."""
    if not condition:
        raise InputError(message)


# ---- kinds of values ----


def is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_real(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool) and bool(np.isfinite(value))


def is_list(value: Any) -> bool:
    """Whether a value holds others in order; a text is one value."""
    return (isinstance(value, Sequence) and not isinstance(value, (str, bytes))) or (isinstance(value, np.ndarray) and value.ndim > 0)


# ---- numbers and names ----


def one_of(value: Any, known: Sequence[Any], what: str) -> None:
    require(isinstance(value, Hashable) and value in known, f"{what} must be one of {', '.join(map(repr, known))}, got {told(value)}")


def seed_fits(seed: Any) -> None:
    require(is_whole(seed) and seed >= 0, f"seed must be a non-negative integer, got {told(seed)}")


def count_fits(value: Any, what: str, least: int = 1) -> None:
    require(is_whole(value) and bool(value >= least), f"{what} must be an integer of at least {least}, got {told(value)}")


def not_negative(value: Any, what: str) -> None:
    require(is_real(value) and value >= 0, f"{what} must be a finite number, not negative, got {told(value)}")


def positive_if_given(value: Any, what: str) -> None:
    require(value is None or (is_real(value) and value > 0), f"{what} must be a positive number or None, got {told(value)}")


def kind_fits(value: Any, kind: type | tuple[type, ...], what: str, wanted: str) -> None:
    require(isinstance(value, kind), f"{what} must be {wanted}, got {told(value)}")


# ---- arrays ----


def numbers(given: Any, what: str, wanted: str = "numbers") -> np.ndarray:
    """A parameter as an array of numbers."""
    try:
        array = np.asarray(given)
    except ValueError:  # rows of different lengths
        array = np.asarray(str(given))
    require(array.dtype.kind in "biu" or is_float(array.dtype), f"{what} must be {wanted}, got {told(given)}")
    return array


def finite(given: Any, what: str, wanted: str = "numbers") -> np.ndarray:
    """A parameter as an array of finite numbers, in float64."""
    array = numbers(given, what, wanted).astype(np.float64)
    require(bool(np.isfinite(array).all()), f"{what} holds NaN or infinity")
    return array


def broadcasts(shape: Sequence[int], to: Sequence[Any]) -> bool:
    """Whether an array of this shape broadcasts to another, of which extents that are no integers are not known."""
    return len(shape) <= len(to) and all(d == 1 or not isinstance(e, int) or d == e for d, e in zip(shape[::-1], to[::-1]))


def array_for(value: Any, name: str, what: str) -> Any:
    """A parameter that is one number or array for all tensors, or a dict by tensor."""
    if isinstance(value, Mapping):
        require(name in value, f"{what} has no entry for {name!r}, only for {', '.join(map(repr, value)) or 'none'}")
        return value[name]
    return value


def by_tensor(value: Any, names: Mapping[str, Any]) -> bool:
    """Whether a parameter is a dict with an entry for each tensor."""
    return isinstance(value, Mapping) and any(n in value for n in names)


def draws_given(given: Any, what: str) -> int:
    """How many draws a parameter holds: an array with them on axis 0, or a dict of such arrays by tensor, all checked."""
    require(not isinstance(given, Mapping) or bool(given), f"{what} is an empty dict: wanted an array for each tensor")
    arrays = {f"{what} for {n!r}": v for n, v in given.items()} if isinstance(given, Mapping) else {what: given}
    shapes = {name: finite(v, name, "an array of numbers").shape for name, v in arrays.items()}
    for name, shape in shapes.items():
        require(bool(shape) and shape[0] > 0, f"{name} has shape {list(shape)}: wanted at least one draw, on axis 0")
    listed = ", ".join(f"{name} has shape {list(shape)}" for name, shape in shapes.items())
    require(len({shape[0] for shape in shapes.values()}) == 1, f"all tensors take the same number of draws, on axis 0: {listed}")
    return next(iter(shapes.values()))[0]


def draws_for(given: Any, name: str, what: str, shape: Sequence[Any]) -> np.ndarray:
    """Those of one tensor, [draws, *shape]; an axis of 1 broadcasts, extents that are no integers are not known."""
    array = numbers(array_for(given, name, what), what)
    fits = array.ndim == len(shape) + 1 and broadcasts(array.shape[1:], shape)
    wanted = ", ".join(["draws", *("?" if e is None else str(e) for e in shape)])
    require(fits, f"{what} for {name!r} has shape {list(array.shape)}: wanted [{wanted}]")
    return array
