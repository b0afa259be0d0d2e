"""Methods that average gradients on the way from a baseline to the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..checks import array_for, broadcasts, count_fits, draws_for, draws_given, finite, one_of, require, seed_fits
from ..ops.shapes import expand_like
from ..question import Question
from ..tape import Type, Var, op
from ..tensors import Tensors
from .average import Average, constants, for_all, per_sample, per_step
from .base import count_rows, method, own_rows
from .point import Point

# Nodes and weights on [0, 1].
QUADRATURES = {
    "gausslegendre": lambda n: tuple(v / 2 for v in np.add(np.polynomial.legendre.leggauss(n), [[1], [0]])),
    "riemann_left": lambda n: (np.arange(n) / n, np.full(n, 1 / n)),
    "riemann_right": lambda n: (np.arange(1, n + 1) / n, np.full(n, 1 / n)),
    "riemann_middle": lambda n: ((np.arange(n) + 0.5) / n, np.full(n, 1 / n)),
    "riemann_trapezoid": lambda n: (np.linspace(0, 1, n), np.array([0.5, *np.ones(n - 2), 0.5]) / (n - 1)),
}


@dataclass(frozen=True)
class Path(Average):
    """A method that averages over steps on the straight path from a baseline to x."""

    steps: int = 50
    baseline: Any = 0.0

    def __post_init__(self) -> None:
        count_fits(self.steps, "steps")

    @property
    def points(self) -> int:
        return int(self.steps)

    @property
    def numbers(self) -> dict[str, np.ndarray]:
        """What tells the steps apart, [steps] each; "alpha" is how far they have come."""
        raise NotImplementedError

    def draws(self, question: Question, shapes: Mapping[str, tuple[int, ...]], steps: range, samples: Sequence[int]) -> dict[str, np.ndarray]:
        return {k: v[steps.start : steps.stop] for k, v in self.numbers.items()} | baseline_rows(question, self.baseline, samples)

    def drawn(self, f: Point) -> dict[str, Var]:
        return constants(self.numbers, f)

    def rows(self, question: Question) -> Mapping[str, int]:
        return count_rows(question, own_baselines(question, self.baseline), "baseline")

    def point(self, f: Point, draw: Mapping[str, Var]) -> Tensors:
        x0 = start(f, self.baseline, draw)
        return x0 + f.x.map(lambda x: per_step(draw["alpha"], x)) * (f.x - x0)


@dataclass(frozen=True)
class Quadrature(Path):
    """One that weighs its steps to approximate an integral."""

    quadrature: str = "gausslegendre"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self.quadrature, list(QUADRATURES), "quadrature")
        require(self.quadrature != "riemann_trapezoid" or self.steps >= 2, "riemann_trapezoid needs at least 2 steps")

    @cached_property
    def numbers(self) -> dict[str, np.ndarray]:
        return dict(zip(("alpha", "weight"), QUADRATURES[self.quadrature](self.points)))


@dataclass(frozen=True)
class IntegratedGradients(Quadrature, name="integrated_gradients"):
    """(x − x₀) times the mean gradient on the straight path from x₀ to x (Sundararajan, Taly and Yan 2017, eq. 1).

    Parameters
    ----------
    steps : int, default 50
        Points on the path.
    quadrature : str, default "gausslegendre"
        Or "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid".
    baseline : float, array or dict of arrays by tensor, default 0
        x₀ of the inputs; an array broadcasts over the batch, or has the batch's own size. A tensor inside the model starts from
        its value at the inputs' baseline, or from its own entry in the dict.
    inner, inner_params
        The method to average instead of the gradient, and its parameters.
    """

    @property
    def origin(self) -> dict[str, np.ndarray]:
        return {"alpha": np.zeros(1)} if self.wrapped == method("gradient", {}) else {}

    def term(self, f: Point, a: Tensors, draw: Mapping[str, Var]) -> Tensors:
        return f.x.map(lambda x: per_step(draw["weight"], x)) * (f.x - start(f, self.baseline, draw)) * a


def own_baselines(question: Question, baseline: Any) -> dict[str, np.ndarray]:
    """The baselines that differ from sample to sample, by tensor."""
    inputs = _moved_inputs(question, baseline)
    # One for all tensors is the inputs' own, if they can have one.
    names = dict.fromkeys([*question.wrt, *inputs]) if isinstance(baseline, Mapping) or not inputs else inputs
    found = own_rows(question, baseline, names, "baseline")
    for name, array in found.items():
        type, axis = question.graph.types[name], question.axis(name)
        _checked(array, Type.tensor(type.dtype, [None if a == axis else d for a, d in enumerate(type.shape or ())]), name)
    return found


def _moved_inputs(question: Question, baseline: Any) -> list[str]:
    """The inputs that have a baseline: the float ones, and token ids that are named."""
    named = baseline if isinstance(baseline, Mapping) else {}
    return [n for n, t in question.graph.inputs.items() if t.is_float or n in named]


def baseline_rows(question: Question, baseline: Any, samples: Sequence[int]) -> dict[str, np.ndarray]:
    """These samples' own baselines: "baseline:<tensor>", [1, *shape]."""
    return {f"baseline:{n}": np.take(v, samples, question.axis(n))[None] for n, v in own_baselines(question, baseline).items()}


def start(f: Point, baseline: Any, draw: Mapping[str, Var] | None = None) -> Tensors:
    """The baseline of each attributed tensor: for one inside the model its value at the inputs' baseline, unless it is named or none of them decides it.

    One that differs from sample to sample comes in `draw`, with an axis for the steps in front.
    """
    rows = {k.removeprefix("baseline:"): v for k, v in (draw or {}).items() if k.startswith("baseline:")}
    given = baseline if isinstance(baseline, Mapping) else {}
    inputs = _moved_inputs(f.question, baseline)
    decided = f.question.graph.downstream(inputs) - set(f.question.graph.inputs)
    inside = [n for n in f.x if n in decided and n not in given]
    direct = [n for n in f.x if n not in inside]
    x0 = Tensors({n: rows[n] if n in rows else _constant(f, baseline, n, f.x[n]) for n in direct})
    if len(x0) < len(f.x):
        at = f.elsewhere({n: op.Squeeze(rows[n], [0]) if n in rows else expand_like(_constant(f, baseline, n, f.env[n]), f.env[n]) for n in inputs})
        x0 |= {n: at[n] for n in inside}
    return Tensors({n: x0[n] for n in f.x})


def _constant(f: Point, baseline: Any, name: str, x: Var) -> Var:
    value = _checked(array_for(baseline, name, "baseline"), x.type, name)
    return f.tape.constant(value if x.type.is_float else np.asarray(value, x.dtype), like=x)


def _checked(baseline: Any, type: Type, name: str) -> Any:
    array, shape = finite(baseline, f"baseline for {name!r}"), type.shape or ()
    require(broadcasts(array.shape, shape), f"baseline for {name!r} has shape {list(array.shape)}, which does not broadcast to {type}")
    return float(array) if array.ndim == 0 else array


@dataclass(frozen=True)
class ExpectedGradients(Average, name="expected_gradients"):
    """Integrated gradients averaged over baselines and positions drawn at random (Erion et al. 2021; GradientSHAP).

    Parameters
    ----------
    baselines : array [S, …] or dict of arrays by tensor
        Reference inputs, one for each draw if `alphas` is given, else drawn from at random.
    alphas : array [S, N] or [S], optional
        Positions on the path for each draw and sample; by default uniform at random.
    samples : int, default 50
        Number of draws where they are random.
    seed : int, default 0
    inner, inner_params
        The method to average instead of the gradient, and its parameters.
    """

    baselines: Any = None
    alphas: Any = None
    samples: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.baselines is not None, "expected_gradients needs baselines=, an array of reference inputs")
        count_fits(self.samples, "samples")
        seed_fits(self.seed)
        draws = draws_given(self.baselines, "baselines")
        if self.alphas is not None:
            shape = finite(self.alphas, "alphas").shape
            require(len(shape) in (1, 2), f"alphas must be an array [draws] or [draws, samples], got shape {list(shape)}")
            require(shape[0] == draws, f"baselines has {draws} draws, alphas {shape[0]}: wanted one baseline for each of alphas")

    @property
    def points(self) -> int:
        return len(self.alphas) if self.alphas is not None else int(self.samples)

    def rows(self, question: Question) -> Mapping[str, int]:
        shape = np.shape(self.alphas)
        return {"alphas": shape[1]} if len(shape) == 2 and shape[1] != 1 else {}

    def draws(self, question: Question, shapes: Mapping[str, tuple[int, ...]], steps: range, samples: Sequence[int]) -> dict[str, np.ndarray]:
        if self.alphas is not None:
            alphas = np.asarray(self.alphas, np.float64)
            alphas = alphas[:, None] if alphas.ndim == 1 else alphas
            drawn = {"alpha": alphas[steps.start : steps.stop, list(samples) if alphas.shape[1] > 1 else [0]]}
        else:
            told = [0] if question.shared else samples  # what is shared is at one place of the path, and so are all samples with it
            drawn = {"alpha": np.array([[np.random.default_rng([self.seed, s, n, 0]).uniform() for n in told] for s in steps])}
        for name in question.wrt:
            several = question.axis(name) is not None and question.own_axis(name) is None
            require(not several, f"expected_gradients draws a place for each sample, and {name!r} has several rows for each: attribute to another tensor")
            references = draws_for(self.baselines, name, "baselines", question.sample(name))
            chosen = steps if self.alphas is not None else [int(np.random.default_rng([self.seed, s, 1]).integers(len(references))) for s in steps]
            drawn["baseline:" + name] = references[chosen]
        return drawn

    def drawn(self, f: Point) -> dict[str, Var]:
        n = np.asarray(self.alphas).shape[1] if self.alphas is not None and np.ndim(self.alphas) == 2 else 1
        return constants(self.draws(f.question, {}, range(self.points), range(n)), f)

    def _baseline(self, f: Point, draw: Mapping[str, Var]) -> Tensors:
        return Tensors({n: for_all(draw[f"baseline:{n}"], f.question.axis(n)) for n in f.x})

    def point(self, f: Point, draw: Mapping[str, Var]) -> Tensors:
        alpha = Tensors({n: per_sample(draw["alpha"], x, f.question.axis(n)) for n, x in f.x.items()})
        return f.x - (1 - alpha) * (f.x - self._baseline(f, draw))

    def term(self, f: Point, a: Tensors, draw: Mapping[str, Var]) -> Tensors:
        return (f.x - self._baseline(f, draw)) * a / float(self.points)
