"""Where layers and inputs have their places: maps [N, C, *space] are found in a graph, read in any layout, and scaled."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from math import isqrt, prod
from typing import Any

import numpy as np

from ..checks import is_list, is_whole, require
from ..errors import InputError
from ..flow import Flow
from ..graph import Graph, Node, reads
from ..ops import OPS
from ..ops.shapes import cast, shape_of
from ..question import Question
from ..tape import Dim, Type, Var, op

# ---- which layer ----

CONVOLUTIONS = ("Conv", "ConvTranspose", "DeformConv", "ConvInteger", "QLinearConv")
IN_PLACE = {name for name, o in OPS.items() if o.elementwise or o.kind in ("batch_norm", "normalization", "quantization")} - {"QLinearMatMul", "MatMulInteger"}
ALSO_IN_PLACE = ("Identity", "Cast", "Concat", "Split", "Slice", "Pad", "Expand", "Resize", "Where", "Max", "Min", "DepthToSpace", "SpaceToDepth")


def last_layer(graph: Graph, score: str, tokens: bool) -> list[str]:
    """The layer that is weighed where nobody names one.

    It is the last map [N, C, *space] on the way to the score, before it is pooled or flattened; before the last convolution if
    the score is a map itself. Of `tokens` [N, T, C] it is the normalised ones that the last attention reads: behind it, only some
    of them may count.
    """
    spatial, maps, before, normalised, attended = set(), [], [], [], []
    for node in Flow(graph, (score,), tuple(graph.inputs)).nodes:
        shape = graph.types[node.outputs[0]].shape or ()
        if node.op_type in CONVOLUTIONS or (_in_place(node) and not spatial.isdisjoint(reads(node))):
            before = maps[-1:] if node.op_type in CONVOLUTIONS else before
            made = [o for o in node.outputs if o and _has_places(graph.types[o])]
            spatial.update(made)
            maps += [o for o in made if graph.types[o].is_float]
            attended = [] if made else attended
        elif node.kind == "normalization" and len(shape) == 3:
            normalised = [node.outputs[0]]
        elif node.kind == "softmax" and len(shape) > 2 and node.outputs[0] != score:
            attended = normalised
    if tokens:
        require(bool(attended), f"no normalised tokens [N, T, C] go through attention to {score!r}: name a layer with layer=")
        return attended
    require(not attended, f"tokens go through attention to {score!r}: give grid='auto' or their (rows, columns), or name a layer with layer=")
    found = before if score in maps else maps[-1:]
    require(bool(found), f"no convolution's output [N, C, space…] leads to {score!r}: name a layer with layer=")
    return found


def _in_place(node: Node) -> bool:
    return node.op_type in IN_PLACE or node.op_type in ALSO_IN_PLACE


def _has_places(type: Type) -> bool:
    return type.shape is not None and len(type.shape) > 2 and any(d != 1 for d in type.shape[2:])


# ---- where a layer and an input have their places ----


@dataclass(frozen=True)
class Layout:
    """How to read a layer as [N, C, *space]."""

    grid: Sequence[int] | str | None = None
    channel_axis: int | None = None

    def __post_init__(self) -> None:
        named = self.grid is None or (isinstance(self.grid, str) and self.grid == "auto")
        given = self.grid is not None and is_list(self.grid) and all(is_whole(d) and d >= 1 for d in self.grid)
        require(named or given, f"grid must be 'auto' or the extents of the grid, such as (14, 14), got {self.grid!r}")

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
            fits = not isinstance(tokens, int) or prod(grid) <= tokens < 2 * prod(grid)
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
        return op.Reshape(op.Slice(v, [-prod(grid)], [np.iinfo(np.int64).max], [2]), [0, 0, *grid])

    def array(self, question: Question, name: str, a: np.ndarray) -> np.ndarray:
        """The same of an array."""
        a = np.moveaxis(a, self.channels(question, name), 1)
        if self.grid is None:
            return a
        grid = self.extents(a.shape[2])
        return a[:, :, -prod(grid) :].reshape(*a.shape[:2], *grid)


@dataclass(frozen=True)
class Picture:
    """A tensor that has the places of maps, mostly an input, and the order of its axes in which it is [N, C, *space], or [N, *space]."""

    name: str
    order: Sequence[int]
    space: int

    @classmethod
    def of(cls, graph: Graph, name: str, space: int) -> Picture:
        """As the first convolution reads it, through Transposes; as it is where there is none."""
        rank = len(graph.types[name].shape or ())
        orders = {name: range(rank)}
        for node in graph.nodes:
            order = next((orders[i] for i in node.inputs if i in orders), None)
            if order is None:
                continue
            if node.op_type in CONVOLUTIONS:
                return cls(name, order, space)
            if node.op_type == "Transpose":
                order = [order[a] for a in node.attributes["perm"]]
            elif not _in_place(node) or len(graph.types[node.outputs[0]].shape or ()) != rank:
                continue
            orders |= dict.fromkeys(node.outputs, order)
        return cls(name, range(rank), space)

    @classmethod
    def find(cls, question: Question, space: int) -> Picture:
        """The first input with so many spatial axes that leads to the layer."""
        graph = question.graph
        ranks = {n: len(t.shape or ()) for n, t in graph.inputs.items() if question.axis(n) == 0}
        fitting = (n for n, rank in ranks.items() if rank in (space + 1, space + 2))
        found = next((n for n in fitting if not graph.downstream([n]).isdisjoint(question.wrt)), None)
        if found is None:
            raise InputError(f"no input has the layer's {space} spatial axes: there is nothing to scale the map to")
        return cls.of(graph, found, space)

    def size(self, x: Var) -> Var:
        """The extents of its places."""
        return shape_of(op.Transpose(x, perm=list(self.order)), x.rank - self.space)

    def extents(self, x: np.ndarray) -> list[int]:
        """The same of an array."""
        return [x.shape[a] for a in self.order[-self.space :]]

    @property
    def back(self) -> list[int]:
        """The order of axes in which [N, C, *space] or [N, *space] is like the tensor."""
        return np.argsort(self.order).tolist()

    def over(self, map: Var) -> Var:
        """[N, 1, *space] so that it broadcasts to the tensor."""
        return op.Transpose(map if len(self.order) == map.rank else op.Squeeze(map, [1]), perm=self.back)

    def masks(self, m: np.ndarray) -> np.ndarray:
        """[k, N, *space] so that it broadcasts to as many of the tensor."""
        m = m if len(self.order) < m.ndim else np.expand_dims(m, 2)
        return m.transpose(0, *(1 + a for a in self.back))


# ---- scaling maps ----

SCALES: dict[str, dict[str, Any]] = {
    "linear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    "nearest": {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
}


def scaled(map: Var, size: Var, how: str) -> Var:
    """[N, 1, *space] at other extents, those of the space."""
    return cast(op.Resize(cast(map, np.dtype(np.float32)), None, None, size, axes=list(range(2, map.rank)), **SCALES[how]), map)


def resized(a: np.ndarray, size: Sequence[int], how: str) -> np.ndarray:
    """An array [..., *space] at other extents, as `scaled` does it."""
    for axis, new in zip(range(-len(size), 0), size):
        a = np.moveaxis(np.tensordot(a, reading(a.shape[axis], new, how).astype(a.dtype), (axis, 1)), -1, axis)
    return a


def reading(old: int, new: int, how: str) -> np.ndarray:
    """How much of each old place every new one takes, [new, old]."""
    if how == "nearest":
        return np.eye(old)[np.arange(new) * old // new]
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(old)))


# ---- places of a sample ----


def spatial_axes(x: np.ndarray, axis: int | None, inside: bool = False) -> list[int]:
    """The axes of a sample that positions lie along, all but its channels.

    Of three axes or more the channels are the last one if it looks like colours and the others do not, else the first; of two axes the
    shorter one, none where they are alike. Two axes of a tensor `inside` the model are places, such as tokens, and their channels.
    """
    own = [a for a in range(x.ndim) if a != axis]
    extents = [x.shape[a] for a in own]
    if len(own) == 2 and inside:
        return own[:1]
    if len(own) < 2 or (len(own) == 2 and extents[0] == extents[1]):
        return own
    if len(own) == 2:
        return [own[int(np.argmax(extents))]]
    colours = extents[-1] in (1, 3, 4) and extents[-1] < min(extents[:-1])
    return own[:-1] if colours else own[1:]


def placed(values: np.ndarray, shape: Sequence[int], axis: int | None, axes: Container[int]) -> np.ndarray:
    """Values [N, …] along some axes of a sample as an array of the tensor's shape, the same along the others."""
    values = values.reshape(-1, *(d if a in axes else 1 for a, d in enumerate(shape) if a != axis))
    return np.broadcast_to(values[0] if axis is None else np.moveaxis(values, 0, axis), shape)
