"""From a model and a method to explanations, and to one file that computes them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from tqdm import tqdm

from . import target as targets
from .errors import InputError
from .explanation import Explanation, jsonable
from .feeds import Arrays, batch_of, feeds_of
from .files import replacing
from .memory import points_per_run
from .methods import Average, Method, method
from .model import Model, load
from .question import Question
from .session import Session
from .tape import Emitted
from .tensors import Tensors
from .trace import Step, Trace
from .write import PROMISED, SCORE, SHAPE, TARGET, Writer


class Explainer:
    """A method, bound to a model: written once, run often, saved as one file.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto, onnx_ir.Model or Model
    method : str, default "integrated_gradients"
        See `onnxplain.methods()`.
    output : str, optional
        Name of the output that is explained, or of any tensor inside; by default the first float output, before a trailing Softmax.
    wrt : str or list of str, optional
        The tensors attributed to: inputs or any inside; by default the float inputs, or the embeddings of token ids.
    fuse : bool or "two", default True
        What to do with batch normalisation; see `onnxplain.load`.
    providers : list, optional
        ONNX Runtime's execution providers; by default CUDA where there is one, else CPU.
    batch_size : int, optional
        At most so many points (samples × steps) in one run; by default as many as fit into memory.
    **params
        The method's own parameters.

    Raises
    ------
    InvalidModelError, UnsupportedModelError, InputError
    """

    def __init__(
        self,
        model: Any,
        method: str | Method = "integrated_gradients",
        *,
        output: str | None = None,
        wrt: str | Sequence[str] | None = None,
        fuse: bool | str = True,
        providers: Sequence[Any] | None = None,
        batch_size: int | None = None,
        **params: Any,
    ) -> None:
        self.method = _method(method, params)
        if batch_size is not None and (not isinstance(batch_size, (int, np.integer)) or batch_size < 1):
            raise InputError(f"batch_size must be a positive integer, got {batch_size!r}")
        self.source: Model = load(model, fuse=fuse)
        self.question = Question.ask(self.source, output, wrt, keep=self.method.keep)
        self.question.require_vjps()
        self.batch_size = batch_size
        self.providers = providers
        self._writer = Writer(self.question, self.method)
        self._sessions: dict[tuple[str, bool], Session] = {}
        for line in self.method.warnings(self.question):
            warnings.warn(line, stacklevel=2)

    def _session(self, form: str, weighted: bool) -> Session:
        """The session of one form of the emitted model, made at its first use."""
        if (form, weighted) not in self._sessions:
            self._sessions[form, weighted] = Session(getattr(self._writer, form)(weighted), self.providers)
        return self._sessions[form, weighted]

    # ---- as a file ----

    @cached_property
    def _whole(self) -> Emitted:
        return self._writer.whole(
            {
                "onnxplain.version": importlib.metadata.version("onnxplain"),
                "onnxplain.method": self.method.name,
                "onnxplain.params": json.dumps(self.method.params, default=jsonable),
                "onnxplain.output": self.question.output,
                "onnxplain.wrt": json.dumps(list(self.question.wrt)),
                "onnxplain.target_input": self._writer.target_name,
                "onnxplain.source_sha256": self.source.sha256,
            }
        )

    @property
    def model(self) -> onnx.ModelProto:
        """The explainer as one self-contained model."""
        return self._whole.to_proto()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the explainer to one .onnx file, which plain ONNX Runtime runs.

        Its inputs are the model's and "target" (int64 [N], or [N, rank − 1] for outputs of higher rank; −1 is the argmax, −2 the
        sum over that axis); its outputs are the model's and "attribution", or one "attribution:<tensor>" each.
        """
        if self._whole.nbytes >= 2**31:
            raise InputError(f"cannot save {path}: {self._whole.nbytes / 2**30:.1f} GiB of weights do not fit into one ONNX file, which ends at 2 GiB")
        with replacing(path) as temporary:
            temporary.write_bytes(self.model.SerializeToString())

    # ---- run ----

    def fit(self, X: Any, *, progress: bool = False) -> Explainer:
        """Learn from data, for the methods that do.

        Parameters
        ----------
        X : array, dict name → array, or iterable of these
            Samples as the model takes them: all at once, or batch by batch, so that they need not fit into memory together.
        progress : bool, default False
            Show a progress bar.

        Returns
        -------
        Explainer
            This one, which has forgotten what it learned before.

        Raises
        ------
        InputError
            The method learns nothing, or the data do not fit the model.
        """
        self.method = self.method.fit(self.question, self._batches(X, progress), self.providers)
        self._writer, self._sessions = Writer(self.question, self.method), {}
        self.__dict__.pop("_whole", None)
        return self

    @property
    def patterns(self) -> Mapping[str, np.ndarray]:
        """What pattern methods learned: weight initializer's name → array in its layout; `.patterns.save(path)` writes an .npz file."""
        return self.method.learned

    def _batches(self, X: Any, progress: bool) -> Iterator[Arrays]:
        """Data as checked batches of a size that fits into memory."""
        q, whole = self.question, self._is_batch(X)
        with tqdm(desc=f"{self.method.name}: fit", unit="sample", disable=not progress) as bar:
            for part in [X] if whole else X:
                feeds = feeds_of(self.question, part)
                n = batch_of(self.question, feeds)
                if whole:
                    bar.reset(total=n)
                if q.fixed is not None and n % q.fixed:
                    raise InputError(f"the model is bound to {q.fixed} samples at once: give a multiple of that, got {n}")
                size = q.fixed or (self._per_run(feeds) if q.batch is not None else n)
                for start in range(0, n, size):
                    rows = range(start, min(start + size, n))
                    yield {k: v if (a := q.axis(k)) is None else np.take(v, rows, axis=a) for k, v in feeds.items()}
                    bar.update(len(rows))

    def _is_batch(self, X: Any) -> bool:
        """Whether data are one batch, rather than an iterable of batches."""
        if isinstance(X, (list, tuple)) and X:
            rank = max((len(t.shape or ()) for t in self.question.graph.inputs.values()), default=0)
            return not isinstance(X[0], Mapping) and np.ndim(X[0]) < rank
        return isinstance(X, Mapping) or hasattr(X, "__array__") or not isinstance(X, Iterable)

    def __call__(self, inputs: Any, target: Any = None) -> Explanation:
        """The same as `explain`."""
        return self.explain(inputs, target)

    def explain(self, inputs: Any, target: Any = None, *, progress: bool = False) -> Explanation:
        """Explain a batch.

        Parameters
        ----------
        inputs : array, or dict name → array
        target : None, int, ints, index tuples, or float array, optional
            Which element of the output; None is the argmax of each sample. See `onnxplain.explain`.
        progress : bool, default False
            Show a progress bar.

        Returns
        -------
        Explanation
        """
        q = self.question
        feeds = feeds_of(self.question, inputs)
        n = batch_of(self.question, feeds)
        wanted = self._target(target, n, feeds)
        per_run = self._per_run(feeds)
        size = q.fixed or (n if q.shared else min(per_run, n))
        if q.shared and n != size:
            raise InputError(f"the batch shares {', '.join(map(repr, q.shared))} and the model is bound to {size} samples at once: give as many, got {n}")
        pieces: list[Arrays] = []
        points = self.method.points if isinstance(self.method, Average) else 1
        with tqdm(total=n * points, desc=self.method.name, unit="point", disable=not progress) as bar:
            for start in range(0, n, size):
                rows = range(start, min(start + size, n))
                part = self._part(feeds, wanted, rows, size)
                if isinstance(self.method, Average):
                    piece = self._averaged(part, rows, per_run, bar)
                else:
                    piece = self._session("plain", _weighted(wanted)).run(part)
                    bar.update(len(rows))
                pieces.append(self._cut(piece, len(rows), size))
        return self._explanation(pieces, feeds, wanted)

    def _per_run(self, feeds: Arrays) -> int:
        """How many points to run at once, each with all those that the inner method takes."""
        if self.batch_size is None:
            return points_per_run(self.question, feeds, self.method)
        return max(1, self.batch_size // (self.method.points_inside if isinstance(self.method, Average) else 1))

    def trace(self, inputs: Any, target: Any = None) -> Trace:
        """Follow relevance through the network, for methods that are one sweep: every tensor's, and what each node absorbs.

        Parameters
        ----------
        inputs, target
            As for `explain`; the batch runs at once.

        Returns
        -------
        Trace
            Printable; `.relevance`, `.steps`, `.first_not_finite`.
        """
        if isinstance(self.method, Average):
            raise InputError(f"{self.method.name} averages many sweeps: trace its inner method")
        feeds = feeds_of(self.question, inputs)
        n = batch_of(self.question, feeds)
        if self.question.fixed not in (None, n):
            raise InputError(f"the model is bound to batches of {self.question.fixed}: trace so many samples at once, got {n}")
        wanted = self._target(target, n, feeds)
        got = self._session("trace", _weighted(wanted)).run(self._part(feeds, wanted, range(n), n))
        relevance = {k.removeprefix("relevance:"): v for k, v in got.items() if k.startswith("relevance:")}
        steps = []
        for node in reversed(self.question.flow.nodes):
            if (arrived := got.get(f"arrived:{node.outputs[0]}")) is not None:
                sent = got.get(f"sent:{node.outputs[0]}", np.zeros_like(arrived))
                finite = bool(np.isfinite(sent).all())
                steps.append(Step(node.proto.name or node.outputs[0], node.op_type, self.question.flow.kind(node), arrived, sent, finite))
        return Trace(relevance, steps)

    def _part(self, feeds: Arrays, wanted: np.ndarray, rows: range, size: int) -> Arrays:
        """Some samples of the batch with their targets; a model of fixed batch size gets the last sample again until it is full."""
        q = self.question
        axes = {n: q.axis(n) for n in feeds} | {self._writer.target_name: q.axis(q.output) if _weighted(wanted) else 0}
        values = feeds | {self._writer.target_name: wanted}
        if q.batch is None:
            return values
        padded = self._padded(rows)
        return {
            k: v if (a := axes[k]) is None or (len(padded) == v.shape[a] and len(rows) == v.shape[a]) else np.take(v, padded, axis=a) for k, v in values.items()
        }

    def _padded(self, rows: range) -> list[int]:
        return [min(r, rows.stop - 1) for r in range(rows.start, rows.start + (self.question.fixed or len(rows)))]

    def _cut(self, piece: Arrays, n: int, size: int) -> Arrays:
        """Drop what was padded."""
        if self.question.fixed is None or n == size:
            return piece
        return {k: v if (a := self._result_axis(k)) is None else np.take(v, range(v.shape[a] * n // size), axis=a) for k, v in piece.items()}

    def _averaged(self, part: Arrays, rows: range, per_run: int, bar: Any) -> Arrays:
        """One part of the batch, its points in pieces that fit; the statistics are kept in float64."""
        m, q = self.method, self.question
        assert isinstance(m, Average)
        weighted = _weighted(part[self._writer.target_name])
        forward = self._session("forward", weighted).run(part)
        if not weighted:
            part = part | {self._writer.target_name: _squeezed(forward[TARGET])}
        shapes = {n: part[n].shape if n in part else tuple(forward.pop(f"{SHAPE}:{n}").tolist()) for n in q.wrt}
        session, samples = self._session("piece", weighted), self._padded(rows)
        size = max(1, per_run // len(rows)) if q.folds else 1
        whole: list[Tensors] | None = None
        for start in range(0, m.points, size):
            steps = range(start, min(start + size, m.points))
            raw = session.run(part | self._draw(m.draws(q, shapes, steps, samples)))
            count = len(raw) // len(q.wrt)
            piece = [Tensors({n: raw[f"{k}:{n}"].astype(np.float64) for n in q.wrt}) for k in range(count)]
            whole = piece if whole is None else list(m.merge(whole, piece, start, len(steps)))
            bar.update(len(steps) * len(rows))
        assert whole is not None
        results = forward | {self._writer.names[n]: v for n, v in m.finish(whole).items()}
        if m.ends:
            drawn = m.draws(q, shapes, range(1), samples)
            ends = [drawn | {k: v[i : i + 1] for k, v in m.ends.items()} for i in (0, 1)]
            first, last = (self._session("scores", weighted).run(part | self._draw(end))[SCORE] for end in ends)
            results[PROMISED] = last.astype(np.float64) - first
        return results

    def _draw(self, draws: Mapping[str, np.ndarray]) -> Arrays:
        dtype = self.question.graph.types[self.question.wrt[0]].dtype
        return {f"draw:{k}": np.asarray(v, dtype) for k, v in draws.items()}

    def _result_axis(self, key: str) -> int | None:
        """The batch axis of a result."""
        q = self.question
        if key in (SCORE, TARGET, PROMISED):
            return 0
        tensor = next((n for n, name in self._writer.names.items() if name == key), key)
        return q.axis(tensor) if q.batch is not None else None

    def _explanation(self, pieces: Sequence[Arrays], feeds: Arrays, wanted: np.ndarray) -> Explanation:
        q = self.question

        def joined(key: str) -> np.ndarray:
            axis = self._result_axis(key)
            return pieces[0][key] if len(pieces) == 1 or axis is None else np.concatenate([p[key] for p in pieces], axis)

        attributions = {n: joined(key).astype(q.graph.types[n].dtype, copy=False) for n, key in self._writer.names.items()}
        outputs = {n: joined(n) for n in q.graph.outputs}
        for line in self.method.remarks(joined(SCORE)):
            warnings.warn(line, stacklevel=3)
        resolved = _squeezed(joined(TARGET)) if TARGET in pieces[0] else wanted
        delta = None
        if PROMISED in pieces[0]:
            promised = joined(PROMISED)
            n = 1 if q.shared else len(promised)  # what the batch shares is not one sample's
            leading = lambda k, a: a if q.axis(k) is None else np.moveaxis(a, q.axis(k), 0)
            sums = [leading(k, a).astype(np.float64).reshape(n, -1).sum(1) for k, a in attributions.items()]
            delta = np.sum(sums, 0) - promised.reshape(n, -1).sum(1)
        return Explanation(attributions, outputs, resolved, self.method.name, self.method.params, delta, feeds)

    # ---- check what comes in ----

    def _target(self, target: Any, n: int, feeds: Arrays) -> np.ndarray:
        """The target as the emitted models take it."""
        q = self.question
        axis = q.axis(q.output)
        shape = [n if a == axis and q.batch is not None else d for a, d in enumerate(q.score.shape or ())]
        if any(not isinstance(d, int) for d in shape):
            if target is None and axis is not None and isinstance(shape[axis], int):
                shape = [d if isinstance(d, int) else 1 for d in shape]
            else:  # sizes that depend on the input: ask the model
                rank = len(shape) - (axis is not None)
                rows = 1 if axis is None else n
                part = self._part(feeds, np.zeros(rows if rank == 1 else (rows, rank), np.int64), range(min(n, q.fixed or n)), n)
                shape = [n if a == axis and q.batch is not None else int(d) for a, d in enumerate(self._session("shape", False).run(part)[SHAPE])]
        parsed = targets.parse(target, [int(d or 0) for d in shape], axis)
        return parsed.astype(q.score.dtype) if parsed.dtype.kind == "f" else parsed


def _weighted(target: np.ndarray) -> bool:
    """Whether a checked target weighs the output's elements, instead of naming one."""
    return target.dtype != np.int64


def _squeezed(coordinates: np.ndarray) -> np.ndarray:
    """[N, 1] as [N]."""
    return coordinates[:, 0] if coordinates.shape[1] == 1 else coordinates


def _method(name: str | Method, params: Mapping[str, Any]) -> Method:
    return name if isinstance(name, Method) else method(name, params)


def explain(
    model: Any,
    inputs: Any,
    method: str | Method = "integrated_gradients",
    *,
    target: Any = None,
    output: str | None = None,
    wrt: str | Sequence[str] | None = None,
    fuse: bool | str = True,
    providers: Sequence[Any] | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    **params: Any,
) -> Explanation:
    """Explain why a model gives the scores that it gives, in one call.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto, onnx_ir.Model or Model
    inputs : array, or dict name → array
        One batch, as the model takes it.
    method : str, default "integrated_gradients"
        See `onnxplain.methods()`.
    target : optional
        None (the argmax of each sample), an int, one int a sample, one index tuple a sample for outputs of higher rank (None in
        it sums over that axis), or a float array of the output's shape that weighs its elements.
    output, wrt, fuse, providers, batch_size
        See `Explainer`.
    progress : bool, default False
        Show a progress bar.
    **params
        The method's own parameters.

    Returns
    -------
    Explanation
    """
    explainer = Explainer(model, method, output=output, wrt=wrt, fuse=fuse, providers=providers, batch_size=batch_size, **params)
    return explainer.explain(inputs, target, progress=progress)
