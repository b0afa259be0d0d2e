"""From attributions to what can be drawn: one signed number for each pixel, step or feature."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import InputError, choose

LARGEST = 1024
"""Pixels a side beyond which a map is averaged down: no more can be seen."""
CHANNELS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "sum": lambda a, axis: a.sum(axis),
    "norm": lambda a, axis: np.sqrt((a * a).sum(axis)),
    "max": lambda a, axis: np.take_along_axis(a, np.abs(a).argmax(axis, keepdims=True), axis).squeeze(axis),
}


def channel_axis(shape: tuple[int, ...], layout: str | None = None) -> int:
    """Where a sample of three axes has its channels: last if that looks like colours and the first does not."""
    if layout is not None:
        return 0 if choose("layout", layout, ["NCHW", "NHWC"]) == "NCHW" else 2
    return 2 if shape[2] in (1, 3, 4) and shape[0] not in (1, 3, 4) else 0


def reduced(a: np.ndarray, channels: str = "sum", layout: str | None = None) -> np.ndarray:
    """One sample's attribution as [H, W] or [L]: over the channels the sum, the norm, or the value of largest magnitude."""
    reduce = CHANNELS[choose("channels", channels, CHANNELS)]
    a = np.asarray(a, np.float64)
    if not np.isfinite(a).all():
        raise InputError("the attribution holds NaN or infinity: there is nothing to draw")
    if a.ndim == 3:
        return shrunk(reduce(a, channel_axis(a.shape, layout)))
    a = a.reshape([d for d in a.shape if d != 1] or [1])
    if a.ndim > 2:
        raise InputError(f"an attribution of shape {list(a.shape)} a sample cannot be drawn: wanted up to three axes, such as channels, height and width")
    return shrunk(a) if a.ndim == 2 else a


def limit(a: np.ndarray, percentile: float = 99.5) -> float:
    """The magnitude that gets the full colour: robust against a few outliers, never zero."""
    if not 0 < percentile <= 100:
        raise InputError(f"percentile must be above 0 and at most 100, got {percentile!r}")
    size = np.abs(a)
    top = float(np.percentile(size, percentile)) if size.size else 0.0
    return top or float(size.max(initial=0)) or 1.0


def picture_of(x: np.ndarray, layout: str | None = None) -> np.ndarray | None:
    """An input as [H, W] or [H, W, 3] within 0 to 1; None if it is no image."""
    if x.ndim != 3:
        return None
    x = np.moveaxis(x, channel_axis(x.shape, layout), -1)
    if x.shape[-1] not in (1, 3, 4):
        return None
    low, high = (0.0, 255.0) if x.dtype == np.uint8 else (float(x.min()), float(x.max()))
    x = (x[..., :3].astype(np.float64) - low) / ((high - low) or 1.0)
    return shrunk(x[..., 0] if x.shape[-1] == 1 else x)


def shrunk(a: np.ndarray) -> np.ndarray:
    """Averaged over blocks where it is larger than anyone can see."""
    step = -(-max(a.shape[:2]) // LARGEST)
    if step <= 1:
        return a
    h, w = (max(1, d // step) for d in a.shape[:2])
    fy, fx = a.shape[0] // h, a.shape[1] // w
    return a[: h * fy, : w * fx].reshape(h, fy, w, fx, *a.shape[2:]).mean((1, 3))
