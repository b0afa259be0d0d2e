"""A model with its inputs: what it is asked, what it answers, and how that is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from .. import options
from ..errors import InputError, choose
from ..explainer import Explainer
from ..explanation import Explanation
from ..feeds import batch_of, feeds_of
from ..inputs import read
from ..model import load
from ..prediction import answers, check_labels, explained, first_name, scores
from ..preprocess import Preprocessing
from ..several import Explainers
from ..target import again


@dataclass(frozen=True, eq=False)
class Case:
    """A model with its inputs."""

    model: Any
    x: Any
    target: Any = None
    name: str = ""
    """What the model is called."""
    names: Sequence[str] | None = None
    """What its samples are called."""
    pictures: Sequence[np.ndarray] | None = None
    labels: Sequence[str] | None = None
    bound: Mapping[str, Any] = field(default_factory=dict)
    """Options of `onnxplain.Explainers`."""
    style: Mapping[str, Any] = field(default_factory=dict)
    """Options of `onnxplain.plot.show`."""

    @classmethod
    def read(
        cls,
        path: Path,
        files: Sequence[Path],
        settings: Path | None,
        labels: str | None,
        fuse: bool,
        *,
        targets: list[str] | None,
        channels: str,
        bound: Mapping[str, Any],
    ) -> Case:
        """A model's file and the files of its inputs, images prepared as its settings say; targets as the command line says them."""
        from ..plot.maps import CHANNELS

        choose("channels", channels, CHANNELS)
        model = load(path, fuse=fuse)
        p = Preprocessing.for_model(model, path, settings, labels=labels)
        batch = read(files, model, p)
        style = {"layout": p.layout, "features": batch.features, "color": "BGR" if p.color == "BGR" else "RGB", "channels": channels}
        wanted = options.targets(targets, p.labels, model, bound.get("output"))
        return cls(model, batch.feeds, wanted, path.stem, batch.names, batch.pictures, p.labels, bound, style)

    @property
    def output(self) -> str | None:
        return self.bound.get("output")

    def explain(self, methods: Mapping[str, Any], targets: Sequence[Any], progress: bool) -> dict[str, list[Explanation]]:
        """Every target by every method."""
        for what, given in {"names": self.names, "pictures": self.pictures}.items():
            if given is not None and len(given) < self.count:
                raise InputError(f"{what}: {len(given)} were given for {self.count} inputs")
        names = {label: " ".join(label.split()) for label in methods}  # in one line, for the progress bar
        found = Explainers(self.model, {names[label]: m for label, m in methods.items()}, **self.bound).explain_each(self.x, targets, progress=progress)
        check_labels(next(iter(found.values()))[0], self.labels, self.output)
        return {label: found[name] for label, name in names.items()}

    def scored(self, e: Explanation) -> np.ndarray | None:
        """The explained scores [N]; they may lie inside the model, before its Softmax."""
        fits = self.asker.question.fixed in (None, len(e.target))
        return self.asker.probe(self.x, again(e.target)).score if fits else None

    @cached_property
    def asker(self) -> Explainer:
        """Asks the model for scores; its method needs no derivatives."""
        return Explainer(self.model, "feature_ablation", **self.bound)

    @cached_property
    def count(self) -> int:
        """How many inputs there are."""
        return batch_of(self.asker.question, feeds_of(self.asker.question, self.x))

    def require_one(self, what: str) -> None:
        """Refuse several inputs, before any work."""
        if self.count != 1:
            raise InputError(f"{what} are compared for one input, got {self.count}")

    def drawn(self, sample: int) -> dict[str, Any]:
        """Options of `show` for one sample."""
        return {**self.style, **({} if self.pictures is None else {"picture": self.pictures[sample]})}

    # ---- in words ----

    def called(self, sample: int) -> str:
        return f"input {sample}" if self.names is None else self.names[sample]

    def predicted(self, e: Explanation, sample: int) -> str:
        """The best class with its probability; empty where the model's outputs are no classes."""
        p = probabilities(e, self.output)
        best = answers(e, sample, self.labels, output=self.output, top=1)
        return "\n".join(f"{short(a.label)} ({p[sample, a.index]:.1%})" if p is not None else short(a.label) for a in best)

    def answer(self, e: Explanation, sample: int, score: np.ndarray | None) -> str:
        """The best class, what is explained where that is another, and its score."""
        best = answers(e, sample, self.labels, output=self.output, top=1)
        standing = self.standing(e, sample, score)
        if best and explained(e, sample, self.labels, output=self.output) == best[0].label:
            return standing
        return "\n".join(filter(None, [self.predicted(e, sample), f"explained: {standing}"]))

    def standing(self, e: Explanation, sample: int, score: np.ndarray | None) -> str:
        """The explained class with its probability and score."""
        p, index = probabilities(e, self.output), class_of(e, sample)
        probability = f" ({p[sample, index]:.1%})" if p is not None and index is not None else ""
        what = short(explained(e, sample, self.labels, output=self.output)) + probability
        return what if score is None else f"{what}\nscore {score[sample]:.4g}"


def probabilities(e: Explanation, output: str | None = None) -> np.ndarray | None:
    """[N, classes]: the model's own, or the Softmax of its scores; None where values from 0 to 1 stand each for itself."""
    y = scores(e, output)
    if y is None or y.shape[1] < 2 or not np.isfinite(y).all():
        return None
    if ((y >= 0) & (y <= 1)).all():
        return y if (abs(y.sum(1) - 1) < 1e-2).all() else None
    y = np.exp(y - y.max(1, keepdims=True))
    return y / y.sum(1, keepdims=True)


def class_of(e: Explanation, sample: int) -> int | None:
    """The number of the explained class, where one is."""
    row = np.atleast_1d(e.target[sample]) if e.target.dtype.kind in "iu" else np.array([-1])
    return int(row.sum()) if (row >= 0).all() and np.count_nonzero(row) <= 1 else None


def short(label: str) -> str:
    """The first of several names, in lines that fit under a picture."""
    return fill(first_name(options.SYNSET.sub("", label)), 20)
