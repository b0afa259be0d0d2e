"""How an image becomes a model's input: inferred from its shape, read from the small JSON beside it, or said by flags."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError, choose
from .tape import Type

if TYPE_CHECKING:
    from .model import Model

COLORS = {"RGB": 3, "BGR": 3, "gray": 1}


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a model's input: (pixel · scale − mean) / std, with pixels from 0 to 255 and the channels in the model's order."""

    layout: str = "NCHW"
    color: str = "RGB"
    size: Sequence[int] | None = None
    """Height and width; None takes the image's own."""
    resize: str = "squash"
    """"squash" stretches to `size`; "crop" scales to `short_side` and cuts out the centre."""
    short_side: int | None = None
    scale: float = 1 / 255
    mean: Sequence[float] | float = 0.0
    std: Sequence[float] | float = 1.0
    labels: Sequence[str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, known in {"layout": ["NCHW", "NHWC"], "color": list(COLORS), "resize": ["squash", "crop"]}.items():
            choose(f"preprocessing {name}", getattr(self, name), known)
        _wanted(self.size is None or _positive(self.size, 2), f"size must be [height, width], got {self.size!r}")
        _wanted(self.short_side is None or _positive([self.short_side], 1), f"short_side must be a positive integer, got {self.short_side!r}")
        for name in ("scale", "mean", "std"):
            self._check_numbers(name, getattr(self, name))
        named = isinstance(self.labels, (Sequence, np.ndarray)) and all(isinstance(v, str) for v in self.labels)
        _wanted(self.labels is None or named, f"labels must be a list of names, or the path of a text file, got {str(self.labels)[:80]}")

    def _check_numbers(self, name: str, value: Any) -> None:
        channels = COLORS[self.color]
        try:
            numbers = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            numbers = np.array(np.nan)
        fits = numbers.ndim == 0 or (name != "scale" and numbers.shape == (channels,))
        several = f" or {channels}, one a channel of {self.color}" if name != "scale" else ""
        _wanted(fits and bool(np.isfinite(numbers).all()), f"{name} must be one finite number{several}, got {value!r}")
        _wanted(name != "std" or bool((numbers != 0).all()), f"std must not be zero, got {value!r}")

    @classmethod
    def of(cls, wanted: Type, model_path: str | Path | None = None, settings: str | Path | None = None, **flags: Any) -> Preprocessing:
        """Inferred from the input's type; over that the settings file, by default the JSON beside the model; over that the flags."""
        beside = Path(model_path).with_suffix(".json") if model_path is not None else None
        path = Path(settings) if settings is not None else beside if beside is not None and beside.is_file() else None
        chosen = _inferred(wanted) | (_read_settings(path) if path is not None else {}) | {k: v for k, v in flags.items() if v is not None}
        if isinstance(chosen.get("labels"), str):
            given = flags.get("labels") is not None or path is None
            chosen["labels"] = _read_labels(Path(chosen["labels"]) if given else path.parent / chosen["labels"])  # type: ignore[union-attr]
        return cls(**chosen)

    @classmethod
    def for_model(cls, model: Model, model_path: str | Path | None = None, settings: str | Path | None = None, **flags: Any) -> Preprocessing:
        """The same for a model's first input."""
        return cls.of(next(iter(model.inputs.values())), model_path, settings, **flags)

    def picture(self, path: str | Path) -> np.ndarray:
        """The image as the network sees it before scaling: [H, W, C] of 0 to 255, in RGB or gray."""
        from PIL import Image, ImageOps

        try:
            with Image.open(path) as opened:
                image = ImageOps.exif_transpose(opened)
                if image.mode.startswith("I"):  # 16 bits a pixel
                    image = Image.fromarray((np.asarray(image) / 257).astype(np.uint8))
                image = image.convert("L" if self.color == "gray" else "RGB")
        except FileNotFoundError:
            raise InputError(f"no such file: {path}") from None
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(f"{path} is not an image that can be read: {str(error).replace(chr(10), ' ')}") from None
        return np.atleast_3d(np.asarray(self._resized(image)))

    def _resized(self, image: Any) -> Any:
        from PIL import Image

        if self.size is None:
            return image
        h, w = self.size
        if self.resize == "crop":
            short = self.short_side or max(h, w)
            factor = short / min(image.size)
            image = image.resize([max(short, round(d * factor)) for d in image.size], Image.Resampling.BILINEAR)
            _wanted(image.width >= w and image.height >= h, f"short_side {short} is smaller than the size {h} × {w} that is cut out")
            left, top = (image.width - w) // 2, (image.height - h) // 2
            return image.crop((left, top, left + w, top + h))
        return image if image.size == (w, h) else image.resize((w, h), Image.Resampling.BILINEAR)

    def array(self, picture: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """A picture as one sample of the model's input."""
        pixels = picture[..., ::-1] if self.color == "BGR" else picture
        x = (pixels.astype(np.float64) * self.scale - np.asarray(self.mean)) / np.asarray(self.std)
        x = x.transpose(2, 0, 1) if self.layout == "NCHW" else x
        if dtype.kind in "iu":
            x, limits = np.round(x), np.iinfo(dtype)
            fits = limits.min <= x.min() and x.max() <= limits.max
            _wanted(fits, f"pixels become {x.min():g} to {x.max():g}, which {dtype} cannot hold: change scale, mean or std")
        return x.astype(dtype)


def _wanted(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(f"preprocessing: {message}")


def _positive(value: Any, count: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == count and all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in value)


def _inferred(wanted: Type) -> dict[str, Any]:
    """What the shape and the dtype of the model's input tell."""
    found: dict[str, Any] = {"scale": 1.0} if wanted.dtype is not None and wanted.dtype.kind in "iu" else {}
    if wanted.shape is None or len(wanted.shape) != 4:
        return found
    first = wanted.shape[1] in (1, 3) or wanted.shape[3] not in (1, 3)
    channels, size = (wanted.shape[1], wanted.shape[2:]) if first else (wanted.shape[3], wanted.shape[1:3])
    found |= {"layout": "NCHW" if first else "NHWC", "color": "gray" if channels == 1 else "RGB"}
    return found | ({"size": list(size)} if all(isinstance(d, int) for d in size) else {})


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a JSON file that can be read: {error}") from None
    _wanted(isinstance(settings, Mapping), f"{path} must hold a JSON object, got {type(settings).__name__}")
    for key in settings:
        choose(f"key in {path.name}", key, [f.name for f in fields(Preprocessing)])
    return settings


def _read_labels(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read labels from {path}: {getattr(error, 'strerror', None) or error}") from None
