"""From a model and a method to explanations, and to one file that computes them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from tqdm import tqdm

from . import target as targets
from .backward import backward
from .errors import InputError, choose
from .explanation import Explanation, _jsonable
from .files import replacing
from .memory import points_per_run
from .methods import Average, Method, Point, method
from .model import Model, load
from .question import Question
from .session import Session
from .tape import Emitted, Tape, Type, Var
from .tensors import Tensors

SCORE, TARGET = "onnxplain/score", "onnxplain/target"


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
        self.method = method if isinstance(method, Method) else _method(method, params)
        self.source: Model = load(model, fuse=fuse)
        self.question = Question.ask(self.source, output, wrt, keep=self.method.keep)
        self.question.require_vjps()
        if batch_size is not None and (not isinstance(batch_size, (int, np.integer)) or batch_size < 1):
            raise InputError(f"batch_size must be a positive integer, got {batch_size!r}")
        self.batch_size = batch_size
        self.providers = providers
        self._sessions: dict[tuple[str, bool], Session] = {}
        for line in self.method.warnings(self.question):
            warnings.warn(line, stacklevel=2)

    # ---- writing ----

    def _point(self, tape: Tape, weighted: bool) -> tuple[Point, dict[str, Var]]:
        """The model at x, on a fresh tape, with the target as an input."""
        q = self.question
        inputs = {n: tape.input(n, t) for n, t in q.graph.inputs.items()}
        tape.reserve((*self._names.values(), SCORE, TARGET))
        env = q.graph.write(tape, inputs)
        y, axis = env[q.output], q.axis(q.output)
        if weighted:
            return Point(q, env, None, tape.input(self._target_name, y.type)), env
        given = tape.input(self._target_name, targets.index_type(q.score, axis))
        return Point(q, env, targets.resolve(y, given, axis)), env

    @property
    def _target_name(self) -> str:
        return "target" if "target" not in self.question.graph.inputs else "onnxplain_target"

    @property
    def _names(self) -> dict[str, str]:
        """The names of the attributions in emitted models."""
        one = len(self.question.wrt) == 1
        return {n: "attribution" if one else f"attribution:{n}" for n in self.question.wrt}

    def _own_outputs(self, f: Point, env: Mapping[str, Var]) -> dict[str, Var]:
        return {n: env[n] for n in self.question.graph.outputs}

    def _write(self, form: str, weighted: bool = False) -> Emitted:
        """One of the emitted models: "whole" (what is saved), "plain", "forward", "piece"."""
        tape = Tape()
        f, env = self._point(tape, weighted)
        facts = {} if weighted else {TARGET: f.coordinates}
        if form == "forward":
            outputs = {**self._own_outputs(f, env), SCORE: f.score(), **facts}
        elif form == "piece":
            assert isinstance(self.method, Average)
            statistics = self.method.statistics(f, self._drawn_inputs(tape, f))
            outputs = {f"{k}:{n}": v for k, s in enumerate(statistics) for n, v in s.items()}
        elif form == "scores":
            assert isinstance(self.method, Average)
            at, _ = f.moved(self.method.point(f, self._drawn_inputs(tape, f)))
            outputs = {SCORE: at.score()}
        else:
            attributions = self.method.explanation(f)
            outputs = {**self._own_outputs(f, env), **{self._names[n]: v for n, v in attributions.items()}}
            if form == "plain":
                outputs |= {SCORE: f.score(), **facts}
        outputs = {n: v for n, v in outputs.items() if v is not None}
        return tape.build(outputs, metadata=self._metadata if form == "whole" else None)

    def _drawn_inputs(self, tape: Tape, f: Point) -> dict[str, Var]:
        """The numbers that tell the points apart, as inputs with the steps on axis 0."""
        assert isinstance(self.method, Average)
        shapes = {n: tuple(d if isinstance(d, int) else 1 for d in v.shape) for n, v in f.x.items()}
        example = self.method.draws(self.question, shapes, range(1), range(1))
        like = next(iter(f.x.values()))
        k = 1 if self.question.fixed is not None else "steps"
        return {n: tape.input(f"draw:{n}", Type.tensor(like.dtype, [k, *(None for _ in v.shape[1:])])) for n, v in example.items()}

    @cached_property
    def _metadata(self) -> dict[str, str]:
        return {
            "onnxplain.version": importlib.metadata.version("onnxplain"),
            "onnxplain.method": self.method.name,
            "onnxplain.params": json.dumps(self.method.params, default=_jsonable),
            "onnxplain.output": self.question.output,
            "onnxplain.wrt": json.dumps(list(self.question.wrt)),
            "onnxplain.target_input": self._target_name,
            "onnxplain.source_sha256": self.source.sha256,
        }

    def _session(self, form: str, weighted: bool) -> Session:
        if (form, weighted) not in self._sessions:
            self._sessions[form, weighted] = Session(self._write(form, weighted), self.providers)
        return self._sessions[form, weighted]

    @cached_property
    def _whole(self) -> Emitted:
        return self._write("whole")

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

    # ---- running ----

    def fit(self, X: Any) -> Explainer:
        """Learn from data, for the methods that do."""
        raise InputError(f"{self.method.name} learns nothing from data: call explain")

    def __call__(self, inputs: Any, target: Any = None) -> Explanation:
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
        feeds = self._feeds(inputs)
        n = self._batch_of(feeds)
        wanted = self._parse(target, n, feeds)
        weighted = wanted.dtype.kind == "f"
        averaged = isinstance(self.method, Average)
        per_run = self.batch_size or points_per_run(self.question, feeds, self.method)
        samples = self.question.fixed or max(1, min(per_run, n))
        pieces: list[dict[str, np.ndarray]] = []
        total = -(-n // samples) * (self._average.points if averaged else 1)
        with tqdm(total=total, desc=self.method.name, unit="run" if not averaged else "step", disable=not progress) as bar:
            for start in range(0, n, samples):
                rows = range(start, min(start + samples, n))
                part = self._part(feeds, rows, n) | {self._target_name: self._rows(wanted, rows, weighted)}
                if averaged:
                    pieces.append(self._averaged(part, rows, weighted, max(1, per_run // len(rows)), bar))
                else:
                    pieces.append(self._session("plain", weighted).run(part))
                    bar.update()
        return self._explanation(pieces, feeds, wanted, n)

    def _averaged(self, part: dict[str, np.ndarray], rows: range, weighted: bool, steps: int, bar: Any) -> dict[str, np.ndarray]:
        """One part of the batch, its steps in pieces that fit; sums in float64."""
        m = self._average
        forward = self._session("forward", weighted).run(part)
        if not weighted:
            part = part | {self._target_name: forward[TARGET] if forward[TARGET].shape[1] != 1 else forward[TARGET][:, 0]}
        shapes = self._shapes(part, forward)
        if self.question.fixed is not None:
            steps = 1
        whole, done = None, 0
        session = self._session("piece", weighted)
        while done < m.points:
            chosen = range(done, min(done + steps, m.points))
            raw = session.run(part | self._drawn(m.draws(self.question, shapes, chosen, rows)))
            count = 1 + max(int(k.partition(":")[0]) for k in raw)
            piece = [Tensors({n: raw[f"{k}:{n}"].astype(np.float64) for n in self.question.wrt}) for k in range(count)]
            whole = piece if whole is None else m.merge(whole, piece, done, len(chosen))
            done = chosen.stop
            bar.update(len(chosen))
        assert whole is not None
        out = {self._names[n]: v for n, v in m.finish(whole).items()}
        if m.complete and m.ends:
            out["onnxplain/promised"] = self._promised(part, weighted)
        return forward | out

    def _promised(self, part: dict[str, np.ndarray], weighted: bool) -> np.ndarray:
        """The difference of scores between the ends of the path."""
        m = self._average
        session = self._session("scores", weighted)
        ends = [session.run(part | self._drawn({k: v[i : i + 1] for k, v in m.ends.items()}))[SCORE] for i in (0, 1)]
        return ends[1].astype(np.float64) - ends[0]

    @property
    def _average(self) -> Average:
        assert isinstance(self.method, Average)
        return self.method

    def _drawn(self, draws: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        dtype = self.question.graph.types[self.question.wrt[0]].dtype
        return {f"draw:{k}": np.asarray(v, dtype) for k, v in draws.items()}

    def _shapes(self, part: Mapping[str, np.ndarray], forward: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
        """The attributed tensors' shapes for one sample along the batch axis."""
        shapes = {}
        for n in self.question.wrt:
            if n in part:
                shapes[n] = part[n].shape
            else:
                types = self.question.graph.types[n].shape or ()
                shapes[n] = tuple(d if isinstance(d, int) else 1 for d in types)
        return shapes

    def _explanation(self, pieces: Sequence[dict[str, np.ndarray]], feeds: dict[str, np.ndarray], wanted: np.ndarray, n: int) -> Explanation:
        q = self.question

        def joined(key: str, axis: int | None) -> np.ndarray:
            return pieces[0][key] if axis is None or len(pieces) == 1 else np.concatenate([p[key] for p in pieces], axis)

        dtype = {name: q.graph.types[name].dtype for name in q.wrt}
        attributions = {name: joined(key, q.axis(name)).astype(dtype[name], copy=False) for name, key in self._names.items()}
        outputs = {name: joined(name, q.axis(name)) for name in q.graph.outputs}
        resolved = wanted
        if TARGET in pieces[0]:
            resolved = joined(TARGET, 0)
            resolved = resolved[:, 0] if resolved.shape[1] == 1 else resolved
        delta = None
        if "onnxplain/promised" in pieces[0]:
            total = sum(a.astype(np.float64).sum(tuple(i for i in range(a.ndim) if i != q.axis(name))) for name, a in attributions.items())
            delta = np.asarray(total - joined("onnxplain/promised", 0))
        return Explanation(attributions, outputs, resolved, self.method.name, self.method.params, delta, feeds)

    # ---- checking what comes in ----

    def _feeds(self, inputs: Any) -> dict[str, np.ndarray]:
        types = self.question.graph.inputs
        if not isinstance(inputs, Mapping):
            if len(types) != 1:
                raise InputError(f"the model has {len(types)} inputs: give a dict with {', '.join(map(repr, types))}")
            inputs = {next(iter(types)): inputs}
        unknown = [n for n in inputs if n not in types]
        if unknown or len(inputs) < len(types):
            lacking = [n for n in types if n not in inputs]
            raise InputError(f"the model's inputs are {', '.join(map(repr, types))}" + (f"; {', '.join(map(repr, unknown))} is none of them" if unknown else "") + (f"; {', '.join(map(repr, lacking))} is missing" if lacking else ""))
        return {n: _checked(n, inputs[n], t) for n, t in types.items()}

    def _batch_of(self, feeds: Mapping[str, np.ndarray]) -> int:
        q = self.question
        sizes = {n: v.shape[a] for n, v in feeds.items() if (a := q.axis(n)) is not None}
        if len(set(sizes.values())) > 1:
            raise InputError(f"the inputs' batch sizes differ: {', '.join(f'{n} has {d}' for n, d in sizes.items())}")
        n = next(iter(sizes.values()), 1)
        if n == 0:
            raise InputError("the batch is empty: wanted at least one sample")
        if q.fixed is not None and n % q.fixed:
            raise InputError(f"the model is bound to batches of {q.fixed}, got {n} samples: give a multiple")
        return n

    def _parse(self, target: Any, n: int, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        q = self.question
        axis = q.axis(q.output)
        shape = [n if a == axis and sizes_known(q) else d for a, d in enumerate(q.score.shape or ())]
        if any(not isinstance(d, int) for d in shape) and target is not None:
            # Sizes that depend on the input: ask the model.
            part = self._part(feeds, range(n if q.fixed is None else q.fixed), n)
            session = self._session("shape", False)
            got = session.run(part)["onnxplain/shape"]
            shape = [n if a == axis else int(d) for a, d in enumerate(got)]
        return targets.parse(target, [d if isinstance(d, int) else 1 for d in shape], axis)

    def _part(self, feeds: Mapping[str, np.ndarray], rows: range, n: int) -> dict[str, np.ndarray]:
        """Some samples of the batch; what has no batch axis goes along."""
        if len(rows) == n:
            return dict(feeds)
        return {k: v if (a := self.question.axis(k)) is None else np.take(v, rows, axis=a) for k, v in feeds.items()}

    def _rows(self, wanted: np.ndarray, rows: range, weighted: bool) -> np.ndarray:
        axis = self.question.axis(self.question.output) if weighted else 0
        taken = wanted if axis is None else np.take(wanted, rows, axis=axis) if len(rows) != wanted.shape[axis] else wanted
        return taken.astype(self.question.score.dtype) if weighted else taken


def sizes_known(q: Question) -> bool:
    return q.batch is not None


def _method(name: str, params: Mapping[str, Any]) -> Method:
    return method(name, params)


def _checked(name: str, value: Any, wanted: Type) -> np.ndarray:
    """An input as an array of the right dtype and shape, or one clear line."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise InputError(f"input {name!r} is no regular array: wanted {wanted}") from None
    if wanted.dtype is None:
        raise InputError(f"input {name!r} is not a tensor")
    if array.dtype != wanted.dtype:
        kinds = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}.get(wanted.dtype.kind, "f")
        if array.dtype.kind not in kinds:
            raise InputError(f"input {name!r} has dtype {array.dtype}, wanted {wanted.dtype}")
        array = array.astype(wanted.dtype)
    shape = wanted.shape
    if shape is not None and (len(shape) != array.ndim or any(isinstance(d, int) and d != e and i > 0 for i, (d, e) in enumerate(zip(shape, array.shape)))):
        raise InputError(f"input {name!r} has shape {list(array.shape)}, wanted {wanted}")
    if wanted.is_float and not np.isfinite(array).all():
        raise InputError(f"input {name!r} holds NaN or infinity")
    return np.ascontiguousarray(array)


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


def vjp(model: Any, outputs: Iterable[str] | None = None, wrt: Iterable[str] | None = None, *, prefix: str = "grad_") -> onnx.ModelProto:
    """The model with its vector-Jacobian product.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto, onnx_ir.Model or Model
    outputs : list of str, optional
        The outputs whose cotangents come in; by default all float outputs.
    wrt : list of str, optional
        The tensors whose cotangents go out; by default all float inputs.
    prefix : str, default "grad_"
        Names the new inputs `prefix + output` and the new outputs `prefix + tensor`.

    Returns
    -------
    onnx.ModelProto
        The model's inputs and outputs, and the new ones.
    """
    loaded = load(model)
    outputs = [n for n, t in loaded.outputs.items() if t.is_float] if outputs is None else [outputs] if isinstance(outputs, str) else list(outputs)
    wrt = [n for n, t in loaded.inputs.items() if t.is_float] if wrt is None else [wrt] if isinstance(wrt, str) else list(wrt)
    for name in (*outputs, *wrt):
        choose("tensor", name, loaded.raw.types)
    if not outputs or not wrt:
        raise InputError("a vector-Jacobian product needs at least one float output and one float tensor to differentiate by")
    graph = loaded.graph(frozenset([*outputs, *wrt]))
    tape = Tape()
    inputs = {n: tape.input(n, t) for n, t in graph.inputs.items()}
    tape.reserve(prefix + n for n in (*outputs, *wrt))
    env = graph.write(tape, inputs)
    seeds = {n: tape.input(prefix + n, env[n].type) for n in outputs}
    pulled = backward(graph, env, seeds, wrt)
    return tape.build({**{n: env[n] for n in graph.outputs}, **{prefix + n: v for n, v in pulled.items()}}).to_proto()
