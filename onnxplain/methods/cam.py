"""Class activation maps: the channels of a layer, weighed and summed to one map of where the score comes from.

Formulas know a layer as [N, C, *space]; what they make of it is [N, 1, *space].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isqrt, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..flow import Flow
from ..graph import Graph, Node, reads
from ..ops.shapes import cast, dim, mT, reshape, shape_of
from ..question import Question
from ..tape import Dim, Type, Var, op
from ..tensors import Tensors
from .base import Method, Point, one_of, require
from .layer import Layered
from .perturbation import Perturbation, baseline_of
from .rectified import GuidedBackprop

if TYPE_CHECKING:
    from ..probe import Probe

# ---- which layer ----

CONVOLUTIONS = ("Conv", "ConvTranspose", "DeformConv", "ConvInteger", "QLinearConv")
IN_PLACE = ("activation", "sum", "product", "batch_norm", "normalization", "quantization")
MOVES_PLACES = ("MatMul", "Einsum", "Det", "QLinearMatMul", "MatMulInteger")
"""Of the kinds above, what does not leave every place where it is."""
ALSO_IN_PLACE = ("Identity", "Cast", "Concat", "Split", "Slice", "Pad", "Expand", "Resize", "Where", "Max", "Min", "DepthToSpace", "SpaceToDepth")


def last_map(graph: Graph, score: str) -> list[str]:
    """The last tensor [N, C, *space] on the way to the score, before it is pooled or flattened; before the last convolution if the score is one itself."""
    spatial, maps, before = set(), [], []
    for node in Flow(graph, (score,), tuple(graph.inputs)).nodes:
        if node.op_type in CONVOLUTIONS:
            before = maps[-1:]
        elif not _in_place(node) or spatial.isdisjoint(reads(node)):
            continue
        made = [o for o in node.outputs if o and _has_places(graph.types[o])]
        spatial.update(made)
        maps += [o for o in made if graph.types[o].is_float]
    found = before if score in maps else maps[-1:]
    require(bool(found), f"no convolution's output [N, C, space…] leads to {score!r}: name a layer with layer=")
    return found


def _in_place(node: Node) -> bool:
    return node.op_type in ALSO_IN_PLACE or (node.kind in IN_PLACE and node.op_type not in MOVES_PLACES)


def _has_places(type: Type) -> bool:
    return type.shape is not None and len(type.shape) > 2 and any(d != 1 for d in type.shape[2:])


def last_tokens(graph: Graph, score: str) -> list[str]:
    """The tokens [N, T, C] that the last attention on the way to the score reads, normalised: behind it, only some may count."""
    normalised, found = [], []
    for node in Flow(graph, (score,), tuple(graph.inputs)).nodes:
        if node.kind == "normalization" and len(graph.types[node.outputs[0]].shape or ()) == 3:
            normalised = [node.outputs[0]]
        elif node.kind == "softmax" and node.outputs[0] != score:
            found = normalised
    require(bool(found), f"no normalised tokens [N, T, C] go through attention to {score!r}: name a layer with layer=")
    return found


# ---- where a layer and an input have their places ----


@dataclass(frozen=True)
class Layout:
    """How to read a layer as [N, C, *space]."""

    grid: Sequence[int] | str | None = None
    channel_axis: int | None = None

    def __post_init__(self) -> None:
        given = isinstance(self.grid, Sequence) and all(isinstance(d, (int, np.integer)) and d >= 1 for d in self.grid)
        require(self.grid in (None, "auto") or given, f"grid must be 'auto' or the extents of the grid, such as (14, 14), got {self.grid!r}")

    def channels(self, question: Question, name: str) -> int:
        """The axis of a layer's channels."""
        type = question.graph.types[name]
        rank = len(type.shape or ())
        wanted = "[N, T, C], tokens on a grid" if self.grid is not None else "[N, C, space…]; for tokens [N, T, C] give grid="
        require(question.axis(name) == 0 and (rank == 3 if self.grid is not None else rank > 2), f"layer {name!r} is {type}: wanted {wanted}")
        axis = self.channel_axis if self.channel_axis is not None else 1 if self.grid is None else 2
        fits = isinstance(axis, (int, np.integer)) and -rank < axis < rank and axis != 0
        require(fits, f"channel_axis {axis!r} is none of {name!r}, {type}")
        return int(axis) % rank

    def space(self, question: Question, name: str) -> int:
        """The number of a layer's spatial axes."""
        if self.grid is None:
            return len(question.graph.types[name].shape or ()) - 2
        return 2 if self.grid == "auto" else len(self.grid)

    def extents(self, tokens: Dim) -> tuple[int, ...]:
        """Those of the grid; the tokens before it, such as a class token, have no place."""
        if self.grid != "auto":
            grid = tuple(map(int, self.grid or ()))
            fits = not isinstance(tokens, int) or prod(grid) <= tokens
            require(fits, f"grid={grid} has {prod(grid)} places, the layer {tokens} tokens")
            return grid
        found = [isqrt(n) for n in (tokens, tokens - 1) if isqrt(n) ** 2 == n] if isinstance(tokens, int) else []
        require(bool(found), f"grid='auto' wants a square of tokens, alone or after one class token, got {tokens}: give grid=(rows, columns)")
        return found[0], found[0]

    def var(self, question: Question, name: str, v: Var) -> Var:
        """A value of the layer's shape as [N, C, *space]."""
        axis = self.channels(question, name)
        v = v if axis == 1 else op.Transpose(v, perm=[0, axis, *(a for a in range(1, v.rank) if a != axis)])
        if self.grid is None:
            return v
        grid = self.extents(v.shape[2])
        return reshape(op.Slice(v, [-prod(grid)], [np.iinfo(np.int64).max], [2]), shape_of(v, 0, 2), *grid)

    def array(self, question: Question, name: str, a: np.ndarray) -> np.ndarray:
        """The same of an array."""
        a = np.moveaxis(a, self.channels(question, name), 1)
        if self.grid is None:
            return a
        grid = self.extents(a.shape[2])
        return a[:, :, -prod(grid) :].reshape(*a.shape[:2], *grid)


def places(shape: Sequence[Dim], space: int) -> slice:
    """The spatial axes of an input: those behind its channels, or before them if the last extent looks like colours; without channels all but the first."""
    colours = (1, 3, 4)
    first = len(shape) == space + 1 or (shape[-1] in colours and shape[1] not in colours)
    return slice(1, space + 1) if first else slice(2, space + 2)


def picture(question: Question, space: int) -> str:
    """The first input with so many spatial axes."""
    fitting = (n for n, t in question.graph.inputs.items() if t.shape is not None and len(t.shape) in (space + 1, space + 2) and question.axis(n) == 0)
    found = next(fitting, None)
    if found is None:
        raise InputError(f"no input has the layer's {space} spatial axes: there is nothing to scale the map to")
    return found


# ---- scaling maps ----

SCALES: dict[str, dict[str, Any]] = {
    "linear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    "nearest": {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
}


def scaled(v: Var, x: Var, how: str) -> Var:
    """[N, 1, *space] at the spatial extents of x."""
    space = v.rank - 2
    where = places(x.shape, space)
    size = shape_of(x, where.start, where.stop)
    return cast(op.Resize(cast(v, np.dtype(np.float32)), None, None, size, axes=list(range(2, v.rank)), **SCALES[how]), v)


def laid_over(v: Var, x: Var) -> Var:
    """[N, 1, *space] so that it broadcasts to x."""
    if v.rank > x.rank:
        return op.Squeeze(v, [1])
    return v if places(x.shape, v.rank - 2).start == 2 else op.Transpose(v, perm=[0, *range(2, v.rank), 1])


def resized(a: np.ndarray, size: Sequence[int], how: str) -> np.ndarray:
    """An array [..., *space] at other extents, as `scaled` does it."""
    for axis, new in zip(range(-len(size), 0), size):
        a = np.moveaxis(np.tensordot(a, _reading(a.shape[axis], new, how).astype(a.dtype), (axis, 1)), -1, axis)
    return a


def _reading(old: int, new: int, how: str) -> np.ndarray:
    """How much of each old place every new one takes, [new, old]."""
    if how == "nearest":
        return np.eye(old)[np.arange(new) * old // new]
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(old)))


# ---- methods ----


@dataclass(frozen=True)
class _Cam(Layered):
    relu: bool = True
    upsample: str | bool = False
    grid: Sequence[int] | str | None = None
    channel_axis: int | None = None

    def __post_init__(self) -> None:
        one_of(self.upsample, [*SCALES, False], "upsample")
        assert self.layout  # refuses what is no grid here, not later

    @cached_property
    def layout(self) -> Layout:
        return Layout(self.grid, self.channel_axis)

    @property
    def attributed(self) -> Callable[[Graph, str], Sequence[str]]:
        return last_map if self.grid is None else last_tokens

    def finished(self, f: Point, map: Var) -> Var:
        """[N, 1, *space] as the parameters want it."""
        map = op.Relu(map) if self.relu else map
        return scaled(map, f.env[picture(f.question, map.rank - 2)], self.upsample) if isinstance(self.upsample, str) else map


@dataclass(frozen=True)
class _Weighted(_Cam):
    """The sum of the channels, weighed by their gradients."""

    def weights(self, a: Var, g: Var) -> Var:
        """What each channel counts, everywhere or place by place, where its values are a and its gradients g."""
        raise NotImplementedError

    def explanation(self, f: Point) -> Tensors:
        def map(a: Var, g: Var, name: str) -> Var:
            a, g = (self.layout.var(f.question, name, v) for v in (a, g))
            return self.finished(f, op.ReduceSum(self.weights(a, g) * a, [1], keepdims=1))

        return f.x.map(map, f.gradient(), Tensors({n: n for n in f.x}))


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
    """Grad-CAM with a weight for every place, by the derivatives of the score's exponential (Chattopadhay et al. 2018, eq. 10 and 19).

    The factor exp(score), which all weights of a sample share, is left out. Parameters are those of grad_cam.
    """

    def weights(self, a: Var, g: Var) -> Var:
        # g² / (2 g² + Σa g³) · relu(g), divided through by g²
        g = op.Relu(g)
        return _over_places(op.ReduceSum, g / (2 + g * _over_places(op.ReduceSum, a)))


@dataclass(frozen=True)
class XGradCam(_Weighted, name="x_grad_cam"):
    """Grad-CAM whose gradients are averaged by the share that each place has in its channel (Fu et al. 2020, eq. 8).

    Parameters are those of grad_cam.
    """

    def weights(self, a: Var, g: Var) -> Var:
        total = _over_places(op.ReduceSum, a)
        return _over_places(op.ReduceSum, a * g) / op.Where(op.Equal(total, 0.0), 1.0, total)


@dataclass(frozen=True)
class LayerCam(_Weighted, name="layer_cam"):
    """A layer's channels, weighed place by place by their positive gradients (Jiang et al. 2021, eq. 5 to 7).

    Parameters are those of grad_cam.
    """

    def weights(self, a: Var, g: Var) -> Var:
        return op.Relu(g)


@dataclass(frozen=True)
class HiResCam(_Weighted, name="hires_cam"):
    """A layer's channels, weighed place by place by their gradients (Draelos and Carin 2020, eq. 3).

    Parameters are those of grad_cam.
    """

    def weights(self, a: Var, g: Var) -> Var:
        return g


@dataclass(frozen=True)
class EigenCam(_Cam, name="eigen_cam"):
    """What a layer's places hold along their first principal component, whatever the target (Muhammad and Yeasin 2020).

    The component is that of the values themselves, not centred; its sign is the one that makes the map's sum positive. Parameters
    are those of grad_cam, but relu is False by default.
    """

    differentiates = False

    relu: bool = False

    def explanation(self, f: Point) -> Tensors:
        return f.x.map(lambda a, n: self.finished(f, _principal(self.layout.var(f.question, n, a))), Tensors({n: n for n in f.x}))


SQUARINGS = 24
"""Of a Gram matrix: the second of its eigenvalues, λ₂, is gone where (λ₂/λ₁)^(2²⁴) is."""


def _principal(a: Var) -> Var:
    """A v₁, where the rows of A are the places and v₁ is the first right singular vector of A."""
    rows = cast(mT(reshape(a, shape_of(a, 0, 2), -1)), np.dtype(np.float32))
    unit = rows / _positive(op.ReduceMax(op.Abs(rows), [1, 2], keepdims=1))
    few = isinstance(rows.shape[1], int) and isinstance(rows.shape[2], int) and rows.shape[1] < rows.shape[2]
    power = unit @ mT(unit) if few else mT(unit) @ unit
    for _ in range(SQUARINGS):
        power = power / _positive(op.ReduceL2(power, [1, 2], keepdims=1))
        power = power @ power
    # All of its columns are multiples of one vector: the longest tells it best.
    lengths = op.ReduceSumSquare(power, [1], keepdims=1)
    longest = op.Equal(op.Range(np.int64(0), op.Squeeze(dim(power, 2), [0]), np.int64(1)), op.ArgMax(lengths, axis=2, keepdims=1))
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
        x = f.inputs[picture(f.question, a.ndim - 2)]
        return resized(map, x.shape[places(x.shape, a.ndim - 2)], self.upsample)


@dataclass(frozen=True)
class ScoreCam(_Probed, name="score_cam"):
    """A layer's channels, weighed by the score that is left where each of them masks the input (Wang et al. 2020, algorithm 1).

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
        return [picture(question, self.layout.space(question, question.wrt[0]))]

    def attribution(self, f: Probe) -> Tensors:
        return Tensors({n: self.map(f, n, self._weights(f, self.layout.array(f.question, n, f.x[n]))) for n in f.question.wrt})

    def _weights(self, f: Probe, a: np.ndarray) -> np.ndarray:
        (name,) = self.changed(f.question)
        x = f.x[name]
        where = places(x.shape, a.ndim - 2)
        channels = np.moveaxis(a, 1, 0).astype(np.float32)
        channels = np.concatenate([np.zeros_like(channels[:1]), channels])  # the first masks all: its score is the baseline's

        def masks(steps: range) -> Mapping[str, np.ndarray]:
            m = resized(channels[steps.start : steps.stop], x.shape[where], "linear")
            axes = tuple(range(2, m.ndim))
            m = m - m.min(axes, keepdims=True)
            m = m / np.maximum(m.max(axes, keepdims=True), np.finfo(np.float32).tiny)
            return {name: m.reshape(len(steps), *(d if a == 0 or where.start <= a < where.stop else 1 for a, d in enumerate(x.shape)))}

        f = replace(f, x=Tensors({name: x}))
        scores = f.scores(len(channels), masks, baseline_of(f, self.baseline))
        increase = scores[1:] - scores[0]
        if not self.softmax:
            return increase
        weights = np.exp(increase - increase.max(0))
        return weights / weights.sum(0)


@dataclass(frozen=True)
class AblationCam(_Probed, name="ablation_cam"):
    """A layer's channels, weighed by the part of the score that is lost without each of them (Desai and Ramaswamy 2020, eq. 4).

    It is divided by the score's magnitude, so that a negative score does not turn the map round. Parameters are those of grad_cam,
    for one layer, and:

    Parameters
    ----------
    baseline : float, "blur", "mean", array or dict of these by tensor, default 0
        What stands in a channel's place.
    probability : bool, default False
        Ask for the probability of the explained class instead of its score.
    """

    def attribution(self, f: Probe) -> Tensors:
        require(len(f.x) == 1, f"ablation_cam takes one layer, got {', '.join(f.x)}: what is ablated in one would not reach the next")
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

    The attribution is that of the input. Parameters are those of guided_backprop, and:

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

        def guided(g: Var, x: Var, name: str) -> Var:
            require(x.rank in (map.rank - 1, map.rank), f"{name!r} is {x.type}: wanted the {map.rank - 2} spatial axes of layer {layer!r}")
            return g * laid_over(scaled(map, x, self.interpolation), x)

        return GuidedBackprop().explanation(f).map(guided, f.x, Tensors({n: n for n in f.x}))

    def warnings(self, question: Question) -> list[str]:
        return GuidedBackprop().warnings(question)
