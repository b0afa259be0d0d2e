"""Several methods on one model at once: they share the forward pass, and what their sweeps have in common."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import onnx
from tqdm import tqdm

from .checks import is_list, require, told
from .errors import InputError
from .explanation import Explanation, jsonable
from .feeds import Arrays
from .files import write_model
from .methods import Average, Method, method_of
from .model import Model, load
from .question import names_of
from .runner import Batch, Runner
from .session import Session
from .tape import Emitted
from .write import together, whole_of


class Explainers:
    """Several methods, bound to one model: what one sweep answers is one graph for all of them.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto, onnx_ir.Model or Model
    methods : sequence, or dict label → method
        Each a name, or a dict {"method": name, **params}.
    output, wrt, fuse, providers, batch_size : optional
        As for `Explainer`; they hold for all methods. CAM methods choose their layer themselves.

    Raises
    ------
    InvalidModelError, UnsupportedModelError, InputError
    """

    def __init__(
        self,
        model: Any,
        methods: Sequence[Any] | Mapping[str, Any],
        *,
        output: str | None = None,
        wrt: str | Sequence[str] | None = None,
        fuse: bool | str = True,
        providers: Sequence[Any] | None = None,
        batch_size: int | None = None,
    ) -> None:
        chosen = _chosen(methods)
        self.source: Model = load(model, fuse=fuse)
        # One graph for all: every tensor that some method names survives in it.
        named = [(m.keep, m.where(wrt)) for m in chosen.values()]
        keep = [t for kept, where in named for t in (*kept, *names_of(where, "wrt"))]
        self._runners: dict[str, Runner] = {}
        for label, m in chosen.items():
            self._runners[label] = Runner.bind(self.source, m, output, wrt, keep, providers, batch_size)
        self.providers = providers
        self._sessions: dict[Any, Session] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_sessions": {}}

    @property
    def labels(self) -> list[str]:
        """The labels of the methods, in their order."""
        return list(self._runners)

    def explain(self, inputs: Any, target: Any = None, *, progress: bool = False) -> dict[str, Explanation]:
        """Explain a batch by every method.

        Parameters
        ----------
        inputs, target, progress
            As for `Explainer.explain`.

        Returns
        -------
        dict label → Explanation
        """
        return {label: each[0] for label, each in self.explain_each(inputs, [target], progress=progress).items()}

    def explain_each(self, inputs: Any, targets: Sequence[Any], *, progress: bool = False) -> dict[str, list[Explanation]]:
        """Explain several targets of the same batch by every method, still with one forward pass.

        Parameters
        ----------
        inputs
            As for `Explainer.explain`.
        targets : sequence
            Targets as `Explainer.explain` takes one.
        progress : bool, default False

        Returns
        -------
        dict label → list of Explanation, one for each target
        """
        require(is_list(targets), f"targets must be a list of targets, got {told(targets)}")
        if not len(targets):
            raise InputError("targets is empty: wanted at least one target")
        found: dict[str, list[Explanation]] = {}
        sweeps = sum(r.method.points for r in self._runners.values())
        what = ", ".join(self.labels) if len(self.labels) < 3 else f"{len(self.labels)} methods"
        with tqdm(desc=what, unit="point", disable=not progress) as bar:
            for group in self._groups:
                lead = self._runners[group[0]]
                batches = [lead.batch(inputs, t) for t in targets]
                bar.total = batches[0].n * len(targets) * sweeps
                joint = _joins(lead) and len({b.weighted for b in batches}) == 1
                found |= self._jointly(group, batches, bar) if joint else {label: [self._runners[label].run(b, bar) for b in batches] for label in group}
        return {label: found[label] for label in self.labels}

    @cached_property
    def _groups(self) -> list[list[str]]:
        """The labels, those together that one graph can answer."""
        groups: dict[Any, list[str]] = {}
        for label, r in self._runners.items():
            groups.setdefault(_score_of(r) if _joins(r) else label, []).append(label)
        return list(groups.values())

    def _jointly(self, group: list[str], batches: Sequence[Batch], bar: Any) -> dict[str, list[Explanation]]:
        """Every target by every method of the group, part by part."""
        members = {label: self._runners[label] for label in group}
        for r in members.values():
            r.require_rows(batches[0].n)
        lead, count, weighted = members[group[0]], len(batches), batches[0].weighted
        key = (tuple(group), count, weighted)
        if key not in self._sessions:
            size = batches[0].size
            writers = {label: r.writer_for(size) for label, r in members.items()}
            self._sessions[key] = Session(together(writers, weighted, count), self.providers, size)
        session, target = self._sessions[key], lead.writer.target_name
        pieces: dict[tuple[str, int], list[Arrays]] = {}
        for (rows, part), *others in zip(*(lead.parts(b) for b in batches)):
            drawn = {f"{label}/{k}": v for label, r in members.items() for k, v in r.drawn(rows).items()}
            raw = session.run(part | {f"{target}:{k}": other[target] for k, (_, other) in enumerate(others, 1)} | drawn)
            own = {n: raw[n] for n in lead.question.graph.outputs}
            for label, r in members.items():
                for k, batch in enumerate(batches):
                    head = f"{k}/{label}/"
                    piece = own | {n.removeprefix(head): v for n, v in raw.items() if n.startswith(head)}
                    pieces.setdefault((label, k), []).append(r.cut(piece, len(rows), batch.size))
            bar.update(len(rows) * len(members) * count)
        return {label: [r.explanation(pieces[label, k], batch) for k, batch in enumerate(batches)] for label, r in members.items()}

    # ---- as a file ----

    @cached_property
    def _whole(self) -> Emitted:
        runners = list(self._runners.items())
        for label, r in runners:
            if not r.method.written:
                raise InputError(f"{label}: {r.method.name} asks the model many times, which no graph does: leave it out of the file")
            if _score_of(r) != _score_of(runners[0][1]):
                raise InputError(f"{label} needs the model in another form than {runners[0][0]}: save it by itself, with Explainer")
        facts = {label: {"method": r.method.name, "params": r.method.params} for label, r in runners}
        metadata = {"onnxplain.version": importlib.metadata.version("onnxplain"), "onnxplain.methods": json.dumps(facts, default=jsonable)}
        return whole_of({label: r.writer for label, r in runners}, metadata | {"onnxplain.source_sha256": self.source.sha256})

    @property
    def model(self) -> onnx.ModelProto:
        """All methods as one self-contained model."""
        return self._whole.to_proto()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one .onnx file: the model's inputs and "target", its outputs and "attribution:<label>" of each method.

        Methods that attribute to several tensors have one "attribution:<label>:<tensor>" each.
        """
        write_model(self._whole, path)


def _chosen(methods: Sequence[str] | Mapping[str, Any]) -> dict[str, Method]:
    """The methods by label."""
    if isinstance(methods, str) or not len(methods):
        raise InputError(f"methods must be a list of names or a dict label → method, got {methods!r}")
    named = {str(label): given for label, given in methods.items()} if isinstance(methods, Mapping) else dict(_labelled(methods))
    return {label: method_of(given, what=label) for label, given in named.items()}


def _score_of(r: Runner) -> tuple[str, int]:
    """What methods must have in common to share a forward pass: the score, and the graph as the rewrites left it."""
    return r.question.output, id(r.question.graph)


def _joins(r: Runner) -> bool:
    """Whether a method's one sweep can share a graph with others."""
    return r.method.written and not isinstance(r.method, Average) and not r.question.shared


def _labelled(methods: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Each under its own name, a second one of it with a number."""
    seen: dict[str, int] = {}
    for given in methods:
        name = given.name if isinstance(given, Method) else str(given.get("method", given)) if isinstance(given, Mapping) else str(given)
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name} {seen[name]}"), given
