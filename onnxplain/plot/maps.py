"""From attributions and inputs to what can be drawn: numbers for pixels, steps or features, and pictures of 0 to 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, sqrt

import numpy as np
from PIL import Image

from ..checks import is_real, numbers
from ..errors import InputError, choose

LARGEST = 1024
"""Pixels a side beyond which a map is averaged down."""
COLORS = (1, 3, 4)
"""Numbers of channels that a picture has: gray, RGB, RGB with an alpha channel, which is left out."""
CHANNELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sum": lambda a: a.sum(-1),
    "norm": lambda a: np.sqrt((a * a).sum(-1)),
    "max": lambda a: np.take_along_axis(a, np.abs(a).argmax(-1, keepdims=True), -1).squeeze(-1),
}
"""How channels, on the last axis, become one value; "max" keeps the sign of the value of largest magnitude."""


# ---- channels ----


def reduced(a: np.ndarray, channels: str) -> np.ndarray:
    """One value for each place: [..., C] as [...]."""
    return CHANNELS[choose("channels", channels, CHANNELS)](a)


def channels_last(a: np.ndarray, axes: int, layout: str | None = None) -> np.ndarray:
    """A sample of so many axes beside its channels, which come last; they are added where there are none."""
    if a.ndim > axes + 1:
        a = a.reshape([d for d in a.shape if d != 1])
    if a.ndim == axes:
        return a[..., None]
    if a.ndim != axes + 1:
        raise InputError(f"a sample of shape {list(a.shape)} cannot be drawn: wanted {axes} axes, or {axes + 1} with channels")
    last = _are_last(a.shape) if layout is None else choose("layout", layout, ["NCHW", "NHWC"]) == "NHWC"
    return a if last else np.moveaxis(a, 0, -1)


def _are_last(shape: Sequence[int]) -> bool:
    """Whether the last axis is the channels: it looks like colours and the first does not, or the axes before it make a square."""
    if (shape[0] in COLORS) != (shape[-1] in COLORS):
        return shape[-1] in COLORS
    return shape[0] == shape[1] != shape[2] and shape[0] not in COLORS


# ---- scale ----


def limit(a: np.ndarray, percentile: float = 99.5) -> float:
    """The magnitude that gets the full colour: robust against a few outliers, never zero."""
    if not (is_real(percentile) and 0 < percentile <= 100):
        raise InputError(f"percentile must be above 0 and at most 100, got {percentile!r}")
    size = np.abs(a)
    return float(np.percentile(size, percentile)) or float(size.max()) or 1.0


# ---- pictures ----


def picture_of(x: np.ndarray, color: str = "RGB") -> np.ndarray | None:
    """An input [H, W, C] as a picture [H, W, 3], stretched to 0 to 1; None if its channels are no colours or its values no numbers."""
    if x.shape[-1] not in COLORS or not np.isfinite(x).all():
        return None
    low, high = (0.0, 255.0) if x.dtype == np.uint8 else (float(x.min()), float(x.max()))
    return shrunk(_colors((x.astype(np.float64) - low) / ((high - low) or 1.0), color))


def given_picture(picture: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """A user's picture as [H, W, 3] of 0 to 1, with the proportions of `size` where that is known."""
    picture = numbers(picture, "picture", "an array of numbers [H, W] or [H, W, C]")
    if picture.ndim not in (2, 3) or not picture.size or (picture.ndim == 3 and picture.shape[-1] not in COLORS):
        raise InputError(f"a picture is an array [H, W] or [H, W, C] with 1, 3 or 4 channels, got shape {list(picture.shape)}")
    scaled = picture / 255 if picture.dtype.kind in "iu" else picture.astype(np.float64)
    if not (scaled.min() >= 0 and scaled.max() <= 1):
        raise InputError(f"a picture holds integers from 0 to 255 or floats from 0 to 1, got {picture.dtype} from {picture.min()} to {picture.max()}")
    if size is not None and abs(picture.shape[0] * size[1] - picture.shape[1] * size[0]) >= max(size):
        raise InputError(f"the picture is {picture.shape[0]} × {picture.shape[1]}, the attribution {size[0]} × {size[1]}: give the picture that the model saw")
    return shrunk(_colors(np.atleast_3d(scaled), "RGB"))


def _colors(x: np.ndarray, color: str) -> np.ndarray:
    """Three channels, red first."""
    if x.shape[-1] == 1:
        return np.repeat(x, 3, -1)
    return x[..., :3] if choose("color", color, ["RGB", "BGR"]) == "RGB" else x[..., 2::-1]


def shrunk(a: np.ndarray, largest: int = LARGEST) -> np.ndarray:
    """[H, W, ...] averaged over blocks where it is larger than anyone can see, each axis by itself."""
    fy, fx = (-(-d // largest) for d in a.shape[:2])
    if fy == fx == 1:
        return a
    h, w = a.shape[0] // fy, a.shape[1] // fx
    return a[: h * fy, : w * fx].reshape(h, fy, w, fx, *a.shape[2:]).mean((1, 3))


def resized(a: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map [h, w] at another resolution, linear between the centres of its cells."""
    if a.shape == size:
        return a
    return np.asarray(Image.fromarray(a.astype(np.float32)).resize((size[1], size[0]), Image.Resampling.BILINEAR), np.float64)


# ---- volumes ----


def chosen_slices(depth: int, slices: int | Sequence[int]) -> list[int]:
    """Which slices of a volume are shown: so many, evenly spread, or those named."""
    chosen = numbers(slices, "slices", wanted := "a positive integer or a list of indices")
    if chosen.ndim > 1 or (chosen.size and chosen.dtype.kind not in "iu") or (chosen.ndim == 0 and chosen < 1):
        raise InputError(f"slices must be {wanted}, got {slices!r}")
    if chosen.ndim == 0:
        return np.unique(np.linspace(0, depth - 1, min(depth, int(chosen))).round().astype(int)).tolist()
    if not chosen.size or chosen.min() < 0 or chosen.max() >= depth:
        raise InputError(f"slices {chosen.tolist()} do not fit: the volume has slices 0 to {depth - 1}")
    return chosen.tolist()


def columns_of(count: int) -> int:
    """In how many columns so many tiles are laid out."""
    return ceil(sqrt(count))


def montage(volume: np.ndarray, slices: Sequence[int]) -> np.ndarray:
    """Slices of [D, H, W, C] side by side, as one [rows · H, columns · W, C]."""
    _, h, w, c = volume.shape
    columns = columns_of(len(slices))
    rows = ceil(len(slices) / columns)
    tiles = np.zeros((rows * columns, h, w, c), volume.dtype)
    tiles[: len(slices)] = volume[list(slices)]
    return tiles.reshape(rows, columns, h, w, c).transpose(0, 2, 1, 3, 4).reshape(rows * h, columns * w, c)
