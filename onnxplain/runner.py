"""Run a method's emitted models over a batch, in parts that fit into memory, and put the parts together again."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from . import target as targets
from .checks import count_fits
from .device import cpu_only
from .errors import InputError
from .explanation import Explanation
from .feeds import Arrays, batch_of, feeds_of
from .memory import points_per_run
from .methods import Average, Method, Perturbation
from .methods.average import draw_type
from .model import Model
from .probe import Probe
from .question import Question
from .session import Session
from .tensors import Tensors
from .write import DELTA, PROMISED, SCORE, SHAPE, TARGET, VALUE, Writer

Wrt = str | Sequence[str] | None


@dataclass(frozen=True, eq=False)
class Batch:
    """What a caller gave, checked."""

    feeds: Arrays
    target: np.ndarray
    """As the emitted models take it."""
    n: int
    size: int
    """How many samples go into one part."""
    per_run: int
    """How many points go into one run."""

    @property
    def weighted(self) -> bool:
        return weighs(self.target)


class Runner:
    """A method bound to a question."""

    def __init__(self, question: Question, method: Method, providers: Sequence[Any] | None, batch_size: int | None) -> None:
        if batch_size is not None:
            count_fits(batch_size, "batch_size")
        self.question, self.method, self.providers, self.batch_size = question, method, providers, batch_size
        self.writer = Writer(question, method, portable=not cpu_only(providers))
        self._sessions: dict[tuple[str, bool], Session] = {}

    @classmethod
    def bind(
        cls, model: Model, method: Method, output: str | None, wrt: Wrt, keep: Iterable[str], providers: Sequence[Any] | None, batch_size: int | None
    ) -> Runner:
        """Ask a model the question of a method; `keep` are tensors that have to survive beside those which the method names."""
        question = Question.ask(model, output, method.where(wrt), keep=[*method.keep, *keep], default=method.attributed)
        if method.differentiates:
            question.require_vjps()
        question.require_apart(method.moves(question))
        for line in method.warnings(question):
            warnings.warn(line, stacklevel=3)
        return cls(question, method, providers, batch_size)

    def session(self, form: str, weighted: bool, rows: int = 1) -> Session:
        """The session of one form of the emitted model, made at its first use for runs of so many points."""
        if (form, weighted) not in self._sessions:
            self._sessions[form, weighted] = Session(getattr(self.writer_for(rows), form)(weighted), self.providers, rows)
        return self._sessions[form, weighted]

    def writer_for(self, rows: int) -> Writer:
        """What writes for runs of so many points."""
        return replace(self.writer, rows=rows)

    def __getstate__(self) -> dict[str, Any]:
        """All but the sessions: where it arrives, they are made anew."""
        return self.__dict__ | {"_sessions": {}}

    # ---- what comes in ----

    def batch(self, inputs: Any, target: Any) -> Batch:
        """Inputs and target, checked, and how they are split."""
        q = self.question
        feeds = feeds_of(q, inputs)
        n = batch_of(q, feeds)
        self.require_rows(n)
        wanted, per_run = self._target(target, n, feeds), self.per_run(feeds)
        size = q.fixed or (n if q.together else min(per_run, n))
        if q.shared and n != size:
            raise InputError(f"the batch shares {', '.join(map(repr, q.shared))} and the model is bound to {size} samples at once: give as many, got {n}")
        return Batch(feeds, wanted, n, size, per_run)

    def at_once(self, inputs: Any, target: Any, what: str) -> tuple[Batch, Arrays]:
        """The same for what does not split a batch."""
        batch = self.batch(inputs, target)
        if self.question.fixed not in (None, batch.n):
            raise InputError(f"the model is bound to batches of {self.question.fixed}: {what} so many samples at once, got {batch.n}")
        return batch, self._part(batch.feeds, batch.target, range(batch.n))

    def parts(self, batch: Batch) -> Iterator[tuple[range, Arrays]]:
        """The batch in parts: which samples, and what the emitted models take."""
        for start in range(0, batch.n, batch.size):
            rows = range(start, min(start + batch.size, batch.n))
            yield rows, self._part(batch.feeds, batch.target, rows)

    def require_rows(self, n: int) -> None:
        """Refuse parameters with rows for other samples than the batch's."""
        for what, rows in self.method.rows(self.question).items():
            if rows != n:
                raise InputError(f"{what} has {rows} samples, the batch has {n}")

    def per_run(self, feeds: Arrays) -> int:
        """How many points to run at once, each with all those that the inner method takes."""
        if self.batch_size is None:
            return points_per_run(self.question, feeds, self.method)
        return max(1, self.batch_size // self.method.points_inside)

    def _target(self, target: Any, n: int, feeds: Arrays) -> np.ndarray:
        """The target as the emitted models take it."""
        q = self.question
        axis = q.axis(q.output)
        shape = [n if a == axis else d for a, d in enumerate(q.score.shape or ())]
        if any(not isinstance(d, int) for d in shape):
            if target is None and axis is not None and isinstance(shape[axis], int):
                shape = [d if isinstance(d, int) else 1 for d in shape]
            else:  # sizes that depend on the input: ask the model
                rank = len(shape) - (axis is not None)
                rows = 1 if axis is None else n
                part = self._part(feeds, np.zeros(rows if rank == 1 else (rows, rank), np.int64), range(min(n, q.fixed or n)))
                shape = [n if a == axis else int(d) for a, d in enumerate(self.session("shape", False).run(part)[SHAPE])]
        try:
            parsed = targets.parse(target, [int(d or 0) for d in shape], axis)
        except InputError as error:
            if q.output in q.graph.outputs:
                raise
            raise InputError(f"{error}; the output here is {q.output!r}, {q.score}: output= names another") from None
        return parsed.astype(q.score.dtype) if parsed.dtype.kind == "f" else parsed

    # ---- run ----

    def explain(self, inputs: Any, target: Any, progress: bool) -> Explanation:
        """Explain a batch."""
        batch = self.batch(inputs, target)
        with tqdm(total=batch.n * self.method.points, desc=self.method.name, unit="point", disable=not progress) as bar:
            return self.run(batch, bar)

    def run(self, batch: Batch, bar: Any) -> Explanation:
        """Explain a checked batch, part by part."""
        return self.explanation([self.cut(self._run(rows, part, batch, bar), len(rows), batch.size) for rows, part in self.parts(batch)], batch)

    def _run(self, rows: range, part: Arrays, batch: Batch, bar: Any) -> Arrays:
        if isinstance(self.method, Average):
            return self._averaged(part, rows, batch.per_run, bar)
        if isinstance(self.method, Perturbation):
            return self._perturbed(part, rows, batch.per_run, bar)
        bar.update(len(rows))
        return self.session("plain", batch.weighted, batch.size).run(part | self.drawn(rows))

    def drawn(self, rows: range) -> Arrays:
        """What a method of one point says of some samples."""
        return self._draw(self.method.draws(self.question, {}, range(1), self.padded(rows)))

    def probe(self, inputs: Any, target: Any) -> Probe:
        """What asks the model at changes of a whole batch."""
        self.question.require_apart(self.method.changed(self.question))
        batch, part = self.at_once(inputs, target, "probe")
        return self._probe(part, range(batch.n), batch.per_run, tqdm(disable=True))[0]

    def _part(self, feeds: Arrays, wanted: np.ndarray, rows: range) -> Arrays:
        """Some samples of the batch with their targets; a model of fixed batch size gets the last sample again until it is full."""
        q = self.question
        axes = {n: q.axis(n) for n in feeds} | {self.writer.target_name: q.axis(q.output) if weighs(wanted) else 0}
        values = feeds | {self.writer.target_name: wanted}
        padded = self.padded(rows)
        return {
            k: v if (a := axes[k]) is None or (len(padded) == v.shape[a] and len(rows) == v.shape[a]) else np.take(v, padded, axis=a) for k, v in values.items()
        }

    def padded(self, rows: range) -> list[int]:
        return [min(r, rows.stop - 1) for r in range(rows.start, rows.start + (self.question.fixed or len(rows)))]

    def cut(self, piece: Arrays, n: int, size: int) -> Arrays:
        """Drop what was padded."""
        if self.question.fixed is None or n == size:
            return piece
        lists = {k: v[:n] for k, v in piece.items() if isinstance(v, list)}  # maps from labels
        return {k: v if (a := self._result_axis(k)) is None else np.take(v, range(v.shape[a] * n // size), axis=a) for k, v in piece.items()} | lists

    def _averaged(self, part: Arrays, rows: range, per_run: int, bar: Any) -> Arrays:
        """One part of the batch, its points in pieces that fit; the statistics are kept in float64."""
        m, q = self.method, self.question
        assert isinstance(m, Average)
        weighted = weighs(part[self.writer.target_name])
        forward = self.session("forward", weighted, len(rows)).run(part)
        if not weighted:
            part = part | {self.writer.target_name: _squeezed(forward[TARGET])}
        shapes = {n: part[n].shape if n in part else tuple(forward.pop(f"{SHAPE}:{n}").tolist()) for n in q.wrt}
        session, samples = self.session("piece", weighted, per_run * m.points_inside), self.padded(rows)
        size = max(1, per_run // len(rows)) if q.folds else 1
        placed = session.place(part)
        whole: list[Tensors] | None = None
        promised: np.ndarray | None = None
        for start in range(0, m.points, size):
            steps = range(start, min(start + size, m.points))
            raw = session.run(placed | self._draw(m.draws(q, shapes, steps, samples)))
            if PROMISED in raw:
                promised = raw.pop(PROMISED).astype(np.float64) + (0 if promised is None else promised)
            count = len(raw) // len(q.wrt)
            piece = [Tensors({n: raw[f"{k}:{n}"].astype(np.float64) for n in q.wrt}) for k in range(count)]
            whole = piece if whole is None else list(m.merge(whole, piece, start, len(steps)))
            bar.update(len(steps) * len(rows))
        assert whole is not None
        results = forward | {self.writer.names[n]: v for n, v in m.finish(whole).items()} | ({} if promised is None else {PROMISED: promised})
        if m.origin:
            drawn = m.draws(q, shapes, range(1), samples) | m.origin
            results[PROMISED] = forward[SCORE].astype(np.float64) - self._begun(part, drawn, weighted)
        return results

    def _begun(self, part: Arrays, drawn: Arrays, weighted: bool) -> np.ndarray:
        """The scores where the samples' paths begin, [N]. Where all begin in the same place, each target is asked for once."""
        q, name, scores = self.question, self.writer.target_name, slice(None)
        same = set(q.wrt) == set(q.graph.inputs) and not any(k.startswith("baseline:") for k in drawn)
        if same and not weighted and q.folds:
            _, first, scores = np.unique(part[name], axis=0, return_index=True, return_inverse=True)
            part, scores = {k: np.take(v, first, 0 if k == name else q.axis(k)) for k, v in part.items()}, scores.ravel()
        return self.session("scores", weighted, len(part[name])).run(part | self._draw(drawn))[SCORE][scores]

    def _perturbed(self, part: Arrays, rows: range, per_run: int, bar: Any) -> Arrays:
        """One part of the batch by forward passes."""
        m = self.method
        assert isinstance(m, Perturbation)
        f, results = self._probe(part, rows, per_run, bar)
        bar.update(len(rows))
        values, delta = m.answer(f)
        results |= {self.writer.names[n]: v for n, v in values.items()}
        return results if delta is None else results | {DELTA: delta}

    def _probe(self, part: Arrays, rows: range, per_run: int, bar: Any) -> tuple[Probe, Arrays]:
        """What asks the model at changes of these samples, and the model's own answers."""
        q, name = self.question, self.writer.target_name
        weighted = weighs(part[name])
        answers = self.session("values", weighted, len(rows)).run(part)
        if not weighted:
            part = part | {name: _squeezed(answers[TARGET])}
        x = Tensors({k.removeprefix(f"{VALUE}:"): answers.pop(k) for k in list(answers) if k.startswith(f"{VALUE}:")})
        for n, v in x.items():
            axis, samples = q.axis(n), len(self.padded(rows))
            if axis is not None and not q.shared and v.shape[axis] != samples:
                many = f"{v.shape[axis]} for {samples} samples on axis {axis}"
                raise InputError(f"{self.method.name} changes a tensor sample by sample, and {n!r} has {many}: choose one that holds them one by one")
        score = answers[SCORE].astype(np.float64)
        score = score.sum(keepdims=True) if q.shared else score
        return Probe(q, x, score, self.padded(rows), part | x, lambda form: self.session(form, weighted, per_run), per_run, bar), answers

    def _draw(self, draws: Mapping[str, np.ndarray]) -> Arrays:
        return {f"draw:{k}": np.asarray(v, draw_type(self.question, k)) for k, v in draws.items()}

    def _result_axis(self, key: str) -> int | None:
        """The batch axis of a result."""
        q = self.question
        if key in (SCORE, TARGET, PROMISED, DELTA):
            return 0
        tensor = next((n for n, name in self.writer.names.items() if name == key), key)
        return q.axis(tensor)

    def explanation(self, pieces: Sequence[Arrays], batch: Batch) -> Explanation:
        """The parts' results as one explanation."""
        q = self.question

        def joined(key: str) -> Any:
            axis, values = self._result_axis(key), [p[key] for p in pieces]
            if isinstance(values[0], list):  # a sequence: a map for each sample
                return [row for rows in values for row in rows]
            return values[0] if len(values) == 1 or axis is None else np.concatenate(values, axis)

        types = q.graph.types
        attributions = {n: joined(key).astype(types[n].dtype if types[n].is_float else np.float32, copy=False) for n, key in self.writer.names.items()}
        for line in (*self.method.remarks(joined(SCORE)), *_lost(attributions)):
            warnings.warn(line, stacklevel=4)
        resolved = _squeezed(joined(TARGET)) if TARGET in pieces[0] else batch.target
        delta = joined(DELTA) if DELTA in pieces[0] else None
        if PROMISED in pieces[0]:
            promised = joined(PROMISED)
            n = 1 if q.shared else len(promised)  # what the batch shares is not one sample's
            leading = lambda k, a: a if q.axis(k) is None else np.moveaxis(a, q.axis(k), 0)
            sums = [leading(k, a).astype(np.float64).reshape(n, -1).sum(1) for k, a in attributions.items()]
            delta = np.sum(sums, 0) - promised.reshape(n, -1).sum(1)
        return Explanation(attributions, {n: joined(n) for n in q.graph.outputs}, resolved, self.method.name, self.method.params, delta, batch.feeds)


def weighs(target: np.ndarray) -> bool:
    """Whether a checked target weighs the output's elements, instead of naming one."""
    return target.dtype != np.int64


def _lost(attributions: Arrays) -> Iterator[str]:
    """A line for each attribution with elements that are no numbers."""
    for n, a in attributions.items():
        if count := a.size - np.count_nonzero(np.isfinite(a)):
            yield f"{count} of {a.size} elements of the attribution of {n!r} are not finite: on the way a number is divided by zero or too large for {a.dtype}"


def _squeezed(coordinates: np.ndarray) -> np.ndarray:
    """[N, 1] as [N]."""
    return coordinates[:, 0] if coordinates.shape[1] == 1 else coordinates
