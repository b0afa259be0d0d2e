"""Class activation maps: the channels of a layer, weighed and summed to one map of where the score comes from.

Formulas know a layer as [N, C, *space]; what they make of it is [N, 1, *space].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import one_of, require
from ..graph import Graph
from ..ops.shapes import cast, counted, dim, mT, reshape, shape_of
from ..question import Question
from ..tape import Var, op
from ..tensors import Tensors
from .base import Method
from .layer import Layered
from .perturbation import Perturbation, baseline_of
from .places import SCALES, Layout, Picture, last_layer, resized, scaled
from .point import Point
from .rectified import GuidedBackprop

if TYPE_CHECKING:
    from ..probe import Probe


@dataclass(frozen=True)
class _Cam(Layered):
    relu: bool = True
    upsample: str | bool = False
    grid: Sequence[int] | str | None = None
    channel_axis: int | None = None

    def __post_init__(self) -> None:
        one_of(self.upsample, [*SCALES, False], "upsample")
        _ = self.layout  # refuses what is no grid here, not later

    @cached_property
    def layout(self) -> Layout:
        return Layout(self.grid, self.channel_axis)

    @property
    def attributed(self) -> Callable[[Graph, str], Sequence[str]]:
        return lambda graph, score: last_layer(graph, score, tokens=self.grid is not None)

    def finished(self, f: Point, map: Var) -> Var:
        """[N, 1, *space] as the parameters want it."""
        map = op.Relu(map) if self.relu else map
        if not isinstance(self.upsample, str):
            return map
        picture = Picture.find(f.question, map.rank - 2)
        return scaled(map, picture.size(f.env[picture.name]), self.upsample)


@dataclass(frozen=True)
class _Weighted(_Cam):
    """The sum of the channels, weighed by their gradients."""

    def weights(self, a: Var, g: Var) -> Var:
        """What each channel counts, everywhere or place by place, where its values are a and its gradients g."""
        raise NotImplementedError

    def explanation(self, f: Point) -> Tensors:
        g = f.gradient()
        return Tensors({n: self._map(f, *(self.layout.var(f.question, n, v) for v in (a, g[n]))) for n, a in f.x.items()})

    def _map(self, f: Point, a: Var, g: Var) -> Var:
        return self.finished(f, op.ReduceSum(self.weights(a, g) * a, [1], keepdims=1))


def _over_places(reduce: Callable[..., Var], v: Var) -> Var:
    return reduce(v, list(range(2, v.rank)), keepdims=1)


@dataclass(frozen=True)
class GradCam(_Weighted, name="grad_cam"):
    """A layer's channels, weighed by their mean gradients (Selvaraju et al. 2017, eq. 1 and 2).

    Parameters
    ----------
    layer : str or list of str, optional
        The tensors whose channels are weighed, the same as `wrt`; by default the last map before it is pooled or flattened, with
        `grid` the tokens that the last attention reads. The attribution is a map [N, 1, *space] for each.
    relu : bool, default True
        Keep only what speaks for the target.
    upsample : "linear", "nearest" or False, default False
        Scale the map to the input's places.
    grid : (rows, columns) or "auto", optional
        The layer is tokens [N, T, C], the last of which lie on this grid; "auto" is a square of T or T − 1.
    channel_axis : int, optional
        The axis of the channels: by default 1, or the last one of tokens.
    """

    def weights(self, a: Var, g: Var) -> Var:
        return _over_places(op.ReduceMean, g)


@dataclass(frozen=True)
class GradCamPlusPlus(_Weighted, name="grad_cam_plus_plus"):
    """Grad-CAM with a weight for every place, by the derivatives of the score's exponential (Chattopadhay et al. 2018).

    The factor exp(score), which all weights of a sample share, is left out. Parameters are those of grad_cam.
    """

    def weights(self, a: Var, g: Var) -> Var:
        # g² / (2 g² + Σa g³) · relu(g), divided through by g²
        g = op.Relu(g)
        return _over_places(op.ReduceSum, g / (2 + g * _over_places(op.ReduceSum, a)))


@dataclass(frozen=True)
class XGradCam(_Weighted, name="x_grad_cam"):
    """Grad-CAM whose gradients are averaged by the share that each place has in its channel (Fu et al. 2020).

    Parameters are those of grad_cam.
    """

    def weights(self, a: Var, g: Var) -> Var:
        total = _over_places(op.ReduceSum, a)
        return _over_places(op.ReduceSum, a * g) / op.Where(op.Equal(total, 0.0), 1.0, total)


@dataclass(frozen=True)
class LayerCam(_Weighted, name="layer_cam"):
    """A layer's channels, weighed place by place by their positive gradients (Jiang et al. 2021).

    Parameters are those of grad_cam.
    """

    def weights(self, a: Var, g: Var) -> Var:
        return op.Relu(g)


@dataclass(frozen=True)
class HiResCam(_Weighted, name="hires_cam"):
    """A layer's channels, weighed place by place by their gradients (Draelos and Carin 2020).

    Parameters are those of grad_cam.
    """

    def weights(self, a: Var, g: Var) -> Var:
        return g


@dataclass(frozen=True)
class EigenCam(_Cam, name="eigen_cam"):
    """A layer's values projected onto the first principal component of its places, whatever the target (Muhammad and Yeasin 2020).

    The component is that of the values themselves, not centred; its sign is the one that makes the map's sum positive. Parameters
    are those of grad_cam, but relu is False by default.
    """

    differentiates = False

    relu: bool = False

    def explanation(self, f: Point) -> Tensors:
        return Tensors({n: self.finished(f, _principal(self.layout.var(f.question, n, a))) for n, a in f.x.items()})


SQUARINGS = 24
"""Of a Gram matrix: the second of its eigenvalues, λ₂, is gone where (λ₂/λ₁)^(2²⁴) is."""


def _principal(a: Var) -> Var:
    """A v₁, where the rows of A are the places and v₁ is the first right singular vector of A."""
    extents = [d for d in a.shape[2:] if isinstance(d, int)]
    rows = cast(mT(op.Reshape(a, [0, 0, prod(extents) if len(extents) == a.rank - 2 else -1])), np.dtype(np.float32))
    unit = rows / _positive(op.ReduceMax(op.Abs(rows), [1, 2], keepdims=1))
    few = isinstance(rows.shape[1], int) and isinstance(rows.shape[2], int) and rows.shape[1] < rows.shape[2]
    power = unit @ mT(unit) if few else mT(unit) @ unit
    for _ in range(SQUARINGS):
        power = power / _positive(op.ReduceL2(power, [1, 2], keepdims=1))
        power = power @ power
    # All of its columns are multiples of one vector: the longest tells it best.
    lengths = op.ReduceSumSquare(power, [1], keepdims=1)
    longest = op.Equal(counted(dim(power, 2)), op.ArgMax(lengths, axis=2, keepdims=1))
    vector = power @ mT(cast(longest, power))
    v = mT(unit) @ (vector if few else unit @ vector)
    map = rows @ (v / _positive(op.ReduceL2(v, [1], keepdims=1)))
    map = op.Where(op.ReduceSum(map, [1], keepdims=1) < 0, -map, map)
    return cast(reshape(map, shape_of(a, 0, 1), 1, shape_of(a, 2)), a)


def _positive(v: Var) -> Var:
    """v, which is not negative, where something is divided by it."""
    return op.Max(v, v.tape.constant(1e-30, v))


@dataclass(frozen=True)
class _Probed(_Cam, Perturbation):
    """The sum of the channels, weighed by what the model answers without or through each of them."""

    baseline: Any = 0.0

    def map(self, f: Probe, name: str, weights: np.ndarray) -> np.ndarray:
        """The map of a layer whose channels have these weights, [C, N]."""
        a = self.layout.array(f.question, name, f.x[name])
        map = np.einsum("nc...,cn->n...", a, weights)[:, None]
        map = np.maximum(map, 0) if self.relu else map
        if not isinstance(self.upsample, str):
            return map
        picture = Picture.find(f.question, a.ndim - 2)
        return resized(map, picture.extents(f.inputs[picture.name]), self.upsample)


@dataclass(frozen=True)
class ScoreCam(_Probed, name="score_cam"):
    """A layer's channels, each weighted by the score of the input that it masks (Wang et al. 2020, algorithm 1).

    A channel is scaled to the input's places, linearly, and to the range from 0 to 1. Parameters are those of grad_cam, and:

    Parameters
    ----------
    softmax : bool, default True
        Whether the weights are the Softmax of these scores over the channels, or how much each exceeds the baseline's score.
    baseline : float, "blur", "mean", array or dict of these by tensor, default 0
        What shows where a mask is 0.
    probability : bool, default False
        Ask for the probability of the explained class instead of its score.
    """

    softmax: bool = True

    def changed(self, question: Question) -> Sequence[str]:
        return [self._picture(question).name]

    def _picture(self, question: Question) -> Picture:
        return Picture.find(question, self.layout.space(question, question.wrt[0]))

    def attribution(self, f: Probe) -> Tensors:
        return Tensors({n: self.map(f, n, self._weights(f, self.layout.array(f.question, n, f.x[n]))) for n in f.question.wrt})

    def _weights(self, f: Probe, a: np.ndarray) -> np.ndarray:
        picture = self._picture(f.question)
        f = replace(f, x=Tensors({picture.name: f.x[picture.name]}))
        size = picture.extents(f.x[picture.name])
        channels = np.moveaxis(a, 1, 0).astype(np.float32)
        channels = np.concatenate([np.zeros_like(channels[:1]), channels])  # the first masks all: its score is the baseline's

        def masks(steps: range) -> Mapping[str, np.ndarray]:
            m = resized(channels[steps.start : steps.stop], size, "linear")
            axes = tuple(range(2, m.ndim))
            m = m - m.min(axes, keepdims=True)
            m = m / np.maximum(m.max(axes, keepdims=True), np.finfo(np.float32).tiny)
            return {picture.name: picture.masks(m)}

        scores = f.scores(len(channels), masks, baseline_of(f, self.baseline))
        increase = scores[1:] - scores[0]
        if not self.softmax:
            return increase
        weights = np.exp(increase - increase.max(0))
        return weights / weights.sum(0)


@dataclass(frozen=True)
class AblationCam(_Probed, name="ablation_cam"):
    """A layer's channels, each weighted by the part of the score that is lost without it (Desai and Ramaswamy 2020).

    It is divided by the score's magnitude, so that a negative score does not turn the map round. Parameters are those of grad_cam,
    for one layer, and:

    Parameters
    ----------
    baseline : float, "blur", "mean", array or dict of these by tensor, default 0
        What stands in a channel's place.
    probability : bool, default False
        Ask for the probability of the explained class instead of its score.
    """

    def moves(self, question: Question) -> Sequence[str]:
        one = len(question.wrt) == 1
        require(one, f"ablation_cam takes one layer, got {', '.join(question.wrt)}: what is ablated in one would not reach the next")
        return question.wrt

    def attribution(self, f: Probe) -> Tensors:
        ((name, a),) = f.x.items()
        axis = self.layout.channels(f.question, name)
        channels = np.arange(a.shape[axis])

        def masks(steps: range) -> Mapping[str, np.ndarray]:
            kept = channels != channels[steps.start : steps.stop, None]
            return {name: kept.reshape(len(steps), *(d if k == axis else 1 for k, d in enumerate(a.shape)))}

        lost = f.score - f.scores(len(channels), masks, baseline_of(f, self.baseline))
        return Tensors({name: self.map(f, name, lost / np.where(f.score == 0, 1, np.abs(f.score)))})


@dataclass(frozen=True)
class GuidedGradCam(Method, name="guided_grad_cam"):
    """Guided backprop of the input times the Grad-CAM of a layer, scaled to the input's places (Selvaraju et al. 2017, section 3.2).

    The attribution is that of the input.

    Parameters
    ----------
    layer : str, optional
        The tensor whose channels are weighed; by default as for grad_cam.
    interpolation : "linear" or "nearest", default "linear"
        How the map is scaled.
    grid, channel_axis : optional
        As for grad_cam.
    """

    layer: str | None = None
    interpolation: str = "linear"
    grid: Sequence[int] | str | None = None
    channel_axis: int | None = None

    def __post_init__(self) -> None:
        one_of(self.interpolation, list(SCALES), "interpolation")

    @cached_property
    def cam(self) -> GradCam:
        return GradCam(grid=self.grid, channel_axis=self.channel_axis)

    @property
    def keep(self) -> list[str]:
        return [] if self.layer is None else [self.layer]

    def explanation(self, f: Point) -> Tensors:
        (layer,) = self.keep or self.cam.attributed(f.question.graph, f.question.output)
        map = self.cam.explanation(f.about([layer]))[layer]
        return GuidedBackprop().explanation(f) * Tensors({n: self._over(f, n, map) for n in f.x})

    def _over(self, f: Point, name: str, map: Var) -> Var:
        """The map at the places of a tensor."""
        x, space = f.x[name], map.rank - 2
        require(
            x.rank in (space + 1, space + 2), f"{name!r} is {x.type}: wanted [N, C, space…] with the layer's {space} spatial axes; name the input with wrt="
        )
        picture = Picture.of(f.question.graph, name, space)
        return picture.over(scaled(map, picture.size(x), self.interpolation))

    def warnings(self, question: Question) -> list[str]:
        return GuidedBackprop().warnings(question)
