"""The techniques that turn a map into a picture (Alber, Software and application patterns for explanation methods, section 2.3 and Fig. 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap

from ..checks import is_real
from ..errors import InputError, choose
from ..listing import Listing
from .maps import reduced, resized

Colors: TypeAlias = str | Colormap
"""A colour map, or its name in Matplotlib."""
COLORS = "RdBu_r"
"""Red speaks for, blue against, white is nothing; told apart with any kind of colour vision."""
SIGNALS = ("pattern_net",)
"""Methods whose result is a signal in the input's own range, not an attribution: shown by projection."""
HIDDEN = 0.5
"""The gray of what is hidden: neither the black nor the white that pictures have themselves."""

VISUALS: dict[str, type[Visual]] = {}


@dataclass(frozen=True)
class Scene:
    """An attribution [h, w, C], the picture [H, W, 3] under it (0 to 1), and how channels become one value."""

    a: np.ndarray
    picture: np.ndarray | None
    channels: str = "sum"

    @property
    def signed(self) -> np.ndarray:
        return reduced(self.a, self.channels)

    @property
    def magnitude(self) -> np.ndarray:
        return reduced(np.abs(self.a), self.channels)

    @property
    def ground(self) -> np.ndarray:
        if self.picture is None:
            raise InputError("this technique draws over the input, which is no picture or not at hand: give picture=, or take visual='heatmap'")
        return self.picture

    def over(self, values: np.ndarray) -> np.ndarray:
        """A map at the picture's resolution."""
        return resized(values, self.ground.shape[:2])


@dataclass(frozen=True)
class Visual:
    """A technique's fields are its parameters."""

    name: ClassVar[str] = ""
    low: ClassVar[float] = 0.0
    """Where the scale begins, whose end is 1: at 0, or at −1 for signed values."""

    def __init_subclass__(cls, name: str = "") -> None:
        if name:
            cls.name = name
            VISUALS[name] = cls

    def values(self, scene: Scene) -> np.ndarray:
        """The numbers that the scale is of."""
        raise NotImplementedError

    def image(self, v: np.ndarray, scene: Scene) -> np.ndarray:
        """The picture [H, W, 3] of these values, in units of the full colour; or values [H, W] that are coloured by `colors`."""
        raise NotImplementedError

    @property
    def colors(self) -> Colormap | None:
        """The colours of numbers, where a colour stands for one."""
        cmap = getattr(self, "cmap", None)
        return colors_of(cmap) if cmap is not None else None


def colors_of(cmap: Colors) -> Colormap:
    """A colour map by its name in Matplotlib."""
    return cmap if isinstance(cmap, Colormap) else colormaps[choose("colour map", cmap, colormaps)]


def visuals() -> Listing:
    """The techniques that turn a map into a picture, with one line each."""
    return Listing({name: (cls.__doc__ or "").strip().splitlines()[0] for name, cls in VISUALS.items()})


def visual(name: str, params: Mapping[str, Any]) -> Visual:
    """The technique called `name` with its parameters checked."""
    cls = VISUALS[choose("visual", name, VISUALS)]
    for key in params:
        choose(f"parameter of the visual {name}", key, [f.name for f in fields(cls)])
    return cls(**params)


def _part(name: str, value: Any) -> None:
    if not (is_real(value) and 0 < value <= 1):
        raise InputError(f"{name} must be above 0 and at most 1, got {value!r}")


@dataclass(frozen=True)
class Heatmap(Visual, name="heatmap"):
    """Signed values in two colours that meet at 0 (Bach et al. 2015).

    Parameters
    ----------
    cmap : str or Colormap, default "RdBu_r"
        Its middle is 0. Others that hold for colour-blind readers: "PuOr_r", "BrBG", "coolwarm"; on black: "berlin", "vanimo".
    """

    cmap: Colors = COLORS
    low = -1.0

    def values(self, scene):
        return scene.signed

    def image(self, v, scene):
        return v


@dataclass(frozen=True)
class Graymap(Visual, name="graymap"):
    """Magnitudes from black to white (Smilkov et al. 2017).

    Parameters
    ----------
    cmap : str or Colormap, default "gray"
        Any one that goes one way: "gray_r", "viridis", "magma".
    """

    cmap: Colors = "gray"

    def values(self, scene):
        return scene.magnitude

    def image(self, v, scene):
        return v


@dataclass(frozen=True)
class ScaledInput(Visual, name="scaled_input"):
    """The input, darker where the magnitude is small (Sundararajan, Taly and Yan 2017)."""

    def values(self, scene):
        return scene.over(scene.magnitude)

    def image(self, v, scene):
        return scene.ground * np.clip(v, 0, 1)[..., None]


@dataclass(frozen=True)
class MaskedInput(Visual, name="masked_input"):
    """The input with its least important segments hidden (Ribeiro, Singh and Guestrin 2016).

    A segment is as important as its mean magnitude. What is hidden is gray.

    Parameters
    ----------
    keep : float, default 0.25
        The part of the area that stays; segments without any attribution go in any case.
    segments : int or int array [H, W], default 100
        How many segments (scikit-image's SLIC), or the segment of each pixel.
    """

    keep: float = 0.25
    segments: int | np.ndarray = 100

    def __post_init__(self) -> None:
        _part("keep", self.keep)
        if not isinstance(self.segments, np.ndarray) and not (isinstance(self.segments, (int, np.integer)) and self.segments >= 1):
            raise InputError(f"segments must be a positive integer or an array [H, W], got {self.segments!r}")

    def values(self, scene):
        size = scene.over(scene.magnitude)
        where = self._where(scene.ground)
        return (np.bincount(where.ravel(), size.ravel()) / np.maximum(np.bincount(where.ravel()), 1))[where]

    def _where(self, picture: np.ndarray) -> np.ndarray:
        """The segment of each pixel, from 0."""
        if isinstance(self.segments, np.ndarray):
            if self.segments.shape != picture.shape[:2] or self.segments.dtype.kind not in "iu":
                raise InputError(f"segments must be integers {list(picture.shape[:2])} as the picture, got {self.segments.dtype} {list(self.segments.shape)}")
            return np.unique(self.segments, return_inverse=True)[1].reshape(self.segments.shape)
        from skimage.segmentation import slic

        return slic(picture, self.segments, start_label=0)

    def image(self, v, scene):
        shown = (v >= np.quantile(v, 1 - self.keep)) & (v > 0)
        return np.where(shown[..., None], scene.ground, HIDDEN)


@dataclass(frozen=True)
class Blend(Visual, name="blend"):
    """Blurred magnitudes laid over the input, the more opaque the larger (Selvaraju et al. 2017).

    Parameters
    ----------
    cmap : str or Colormap, default "viridis"
    blur : float, optional
        Standard deviation in the picture's pixels; by default 3 for a picture of 224.
    opacity : float, default 0.8
        Of the largest values.
    """

    cmap: Colors = "viridis"
    blur: float | None = None
    opacity: float = 0.8

    def __post_init__(self) -> None:
        _part("opacity", self.opacity)
        if self.blur is not None and not (is_real(self.blur) and self.blur >= 0):
            raise InputError(f"blur must be a number, not negative, got {self.blur!r}")

    def values(self, scene):
        from scipy.ndimage import gaussian_filter

        blur = 3 / 224 * max(scene.ground.shape[:2]) if self.blur is None else self.blur
        return gaussian_filter(scene.over(scene.magnitude), blur)

    def image(self, v, scene):
        v = np.clip(v, 0, 1)
        share = self.opacity * v[..., None]
        return (1 - share) * scene.ground + share * colors_of(self.cmap)(v)[..., :3]


@dataclass(frozen=True)
class Projection(Visual, name="projection"):
    """A signal as a picture, each value by itself, around mid-gray (Kindermans et al. 2018)."""

    def values(self, scene):
        if scene.a.shape[-1] not in (1, 3):
            raise InputError(f"a projection draws 1 or 3 channels as gray or colours, got {scene.a.shape[-1]}: take visual='heatmap'")
        return scene.a

    def image(self, v, scene):
        return np.broadcast_to(np.clip(0.5 + v / 2, 0, 1), (*v.shape[:2], 3))


@dataclass(frozen=True)
class Input(Visual, name="input"):
    """The input itself, with nothing of the explanation."""

    def values(self, scene):
        return scene.ground

    def image(self, v, scene):
        return scene.ground
