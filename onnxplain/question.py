"""The question that an explanation answers: which score of the model, with respect to which tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from .backward import refuse
from .checks import require, told
from .errors import InputError, UnsupportedModelError, choose
from .flow import Flow
from .graph import Graph
from .mixing import mixes
from .model import Model
from .tape import Dim, Type

SOFTMAXES = ("Softmax", "LogSoftmax", "Sigmoid")
RESHAPING = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, eq=False)
class Question:
    """A graph, the tensor whose elements are the scores, and the tensors that are attributed to."""

    graph: Graph
    output: str
    wrt: tuple[str, ...]

    @classmethod
    def ask(
        cls,
        model: Model,
        output: str | None = None,
        wrt: str | Sequence[str] | None = None,
        keep: Iterable[str] = (),
        default: Callable[[Graph, str], Sequence[str]] | None = None,
    ) -> Question:
        """Find the defaults, and refuse names that the model lacks; `default` finds what is attributed to where nobody says it."""
        named = names_of(wrt, "wrt")
        asked = [*named, *([output] if output else []), *keep]
        for name in asked:
            choose("tensor", name, model.raw.types)
        graph = model.graph(frozenset(asked))
        for name in asked:
            if name not in graph.types:
                raise InputError(f"tensor {name!r} leads to no output of the model")
        score = output or default_score(graph)
        if not named and default is not None:
            named = list(default(graph, score))
        question = cls(graph, score, tuple(dict.fromkeys(named)) or tuple(default_wrt(graph)))
        question._check(bool(named))
        return question

    def _check(self, named: bool) -> None:
        score = self.graph.types[self.output]
        if not score.is_float:
            raise InputError(f"output {self.output!r} is {score}: wanted a float tensor")
        if score.shape is None:
            raise UnsupportedModelError(f"the rank of output {self.output!r} is not known to ONNX's shape inference; give output= a tensor of known rank")
        if named:
            reach = self.graph.downstream(self.wrt)
            if self.output not in reach:
                raise InputError(f"output {self.output!r} does not depend on {', '.join(map(repr, self.wrt))}")

    @cached_property
    def flow(self) -> Flow:
        """What lies between the attributed tensors and the score."""
        makers = [self.graph.producer.get(n) for n in _moved_from(self.graph, self.output)]
        final = [n for n in makers if n is not None and n.operator is not None and "saturates" in n.operator.defaults]
        return Flow(self.graph, (self.output,), self.wrt, final, sources_of(self.graph))

    def require_vjps(self) -> None:
        """Refuse by name, before anything is written, what has no derivative."""
        for name in self.wrt:
            if not self.graph.types[name].is_float:
                raise InputError(f"wrt {name!r} is {self.graph.types[name]}: wanted a float tensor; for token ids, the output of their embedding")
        refuse(self.flow.missing, "the backward sweep")

    def require_apart(self, names: Sequence[str]) -> None:
        """Refuse tensors to be given values all at once where one decides another's."""
        for name in names:
            behind = [n for n in names if n != name and n in self.graph.downstream([name])]
            if behind:
                raise InputError(f"{behind[0]!r} is computed from {name!r}, so the two cannot be changed at once: attribute to them apart, with wrt=")

    @cached_property
    def score(self) -> Type:
        return self.graph.types[self.output]

    @cached_property
    def batch(self) -> Dim:
        """What the batch axis is called: the first symbol of the score that an input shares, if there is one along which samples do not meet;

        without symbols the extent of axis 0, if an input shares that.
        """
        inputs, score = self.graph.inputs.values(), self.score.shape or ()
        symbols = {d for t in inputs for d in t.shape or () if isinstance(d, str)}
        common = [d for d in dict.fromkeys(score) if d in symbols]
        shared = next((d for d in common if len(common) > 1 and not mixes(self.graph, d)), next(iter(common), None))
        if shared is not None or not score:
            return shared
        leads = [t.shape[0] for t in inputs if t.shape]
        if isinstance(score[0], int):
            return score[0] if score[0] in leads else None
        return next((d for d in leads if isinstance(d, str)), None)

    def axis(self, name: str) -> int | None:
        """The batch axis of a tensor; None where it has none and goes along unsplit."""
        shape = self.graph.types[name].shape
        if not shape or self.batch is None:
            return None
        if isinstance(self.batch, str) and self.batch in shape:
            return shape.index(self.batch)
        if name in self.graph.inputs:
            return 0 if shape[0] == self.batch else None
        return 0 if name in self._batched else None

    def sample(self, name: str) -> list[Dim]:
        """The shape of a tensor without its batch axis."""
        return [d for a, d in enumerate(self.graph.types[name].shape or ()) if a != self.axis(name)]

    def own_axis(self, name: str) -> int | None:
        """The batch axis of a tensor if that axis holds samples and nothing else."""
        axis, shape = self.axis(name), self.graph.types[name].shape
        return axis if axis is not None and shape is not None and shape[axis] == self.batch else None

    @cached_property
    def _batched(self) -> set[str]:
        """The values that depend on an input with a batch axis."""
        return self.graph.downstream([n for n in self.graph.inputs if self.axis(n) is not None])

    @cached_property
    def shared(self) -> list[str]:
        """The attributed tensors that all samples share: their attribution is one for the whole batch."""
        return [n for n in self.wrt if self.axis(n) is None]

    @cached_property
    def mixed(self) -> bool:
        """Whether the model lets the samples meet, so that a part of the batch would be answered otherwise than the whole."""
        return isinstance(self.batch, str) and mixes(self.graph, self.batch)

    @property
    def together(self) -> bool:
        """Whether a batch must not be taken apart: its samples share something that is attributed to, or meet in the model."""
        return bool(self.shared) or self.mixed

    @property
    def folds(self) -> bool:
        """Whether several points fit into one run, side by side on the batch axis."""
        return self.fixed is None and not self.together

    @cached_property
    def fixed(self) -> int | None:
        """The batch size that the model is bound to, if it is."""
        return self.batch if isinstance(self.batch, int) else None


def names_of(given: str | Sequence[str] | None, what: str) -> list[str]:
    """The names of tensors that a parameter tells: one, several, or none."""
    require(given is None or isinstance(given, Iterable), f"{what} must be the name of a tensor or a list of names, got {told(given)}")
    return [given] if isinstance(given, str) else list(given if given is not None else [])


def default_score(graph: Graph) -> str:
    """The first float output, or what a map from labels is made of, before a trailing Softmax, LogSoftmax or Sigmoid."""
    zipped = (graph.producer[n].inputs[0] for n in graph.outputs if n in graph.producer and graph.producer[n].op_type == "ZipMap")
    output = next((n for n, t in graph.outputs.items() if t.is_float), next(zipped, None))
    if output is None:
        raise UnsupportedModelError(f"no output of the model is a float tensor: {', '.join(f'{n} is {t}' for n, t in graph.outputs.items())}")
    chain = _moved_from(graph, output)
    last = graph.producer.get(chain[-1])
    if last is not None and last.op_type == "LpNormalization":  # sigmoids, scaled to add up to one
        last = graph.producer.get(_moved_from(graph, last.inputs[0])[-1])
    if last is None or last.op_type not in SOFTMAXES:
        return output
    # Old Softmaxes work on a flattened copy: the score is the tensor before it that has the output's layout.
    before = _moved_from(graph, last.inputs[0])
    return next((n for n in before if graph.types[n].is_float and graph.types[n].shape == graph.types[output].shape), before[0])


def _moved_from(graph: Graph, name: str) -> list[str]:
    """The tensor and those before it that hold the same elements in another shape, or on no grid."""
    chain = [name]
    while (node := graph.producer.get(chain[-1])) is not None and node.op_type in RESHAPING:
        chain.append(node.inputs[0])
    return chain


def sources_of(graph: Graph) -> list[str]:
    """Where the input enters: the float inputs; for token ids the outputs of the embedding lookups."""
    floats = [n for n, t in graph.inputs.items() if t.is_float]
    if floats:
        return floats
    ids = graph.downstream(graph.inputs, through=lambda n: n.kind == "movement" and n.op_type not in ("Concat", "Expand"))
    return [n.outputs[0] for n in graph.nodes if n.op_type == "Gather" and n.inputs[1] in ids and graph.types[n.outputs[0]].is_float]


def default_wrt(graph: Graph) -> list[str]:
    """What is attributed to where nobody names it: all sources."""
    found = sources_of(graph)
    if not found:
        listed = ", ".join(f"{n} is {t}" for n, t in graph.inputs.items()) or "there are none"
        raise UnsupportedModelError(f"no input is a float tensor ({listed}), and no embedding lookup was found: name a float tensor with wrt=")
    return found
