"""From a model and a method to explanations, and to one file that computes them."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from tqdm import tqdm

from .errors import InputError
from .explanation import Explanation, jsonable
from .feeds import Arrays, batch_of, feeds_of
from .files import write_model
from .methods import Average, Method, method_of
from .model import Model, load
from .probe import Probe
from .question import Question
from .runner import Runner
from .tape import Emitted
from .trace import Step, Trace


class Explainer:
    """A method, bound to a model: written once, run often, saved as one file.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto, onnx_ir.Model or Model
    method : str, default "integrated_gradients"
        See `onnxplain.methods()`.
    output : str, optional
        Name of the output that is explained, or of any tensor inside; by default the first float output, before a trailing
        Softmax, LogSoftmax or Sigmoid.
    wrt : str or list of str, optional
        The tensors attributed to: inputs or any inside; by default the float inputs, or the embeddings of token ids.
    fuse : bool or "two", default True
        What to do with batch normalisation; see `onnxplain.load`.
    providers : list, optional
        ONNX Runtime's execution providers; by default CUDA where there is one, else CPU.
    batch_size : int, optional
        The most points (samples × steps) in one run; by default 16, fewer if that would need more than half of the free memory.
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
        chosen = method_of(method, params, what="method")
        self.source: Model = load(model, fuse=fuse)
        self._runner = Runner.bind(self.source, chosen, output, wrt, (), providers, batch_size)

    @property
    def question(self) -> Question:
        """What is explained, of which graph."""
        return self._runner.question

    @property
    def method(self) -> Method:
        """The method with its parameters, and with what it learned."""
        return self._runner.method

    # ---- as a file ----

    @cached_property
    def _whole(self) -> Emitted:
        if not self.method.written:
            raise InputError(f"{self.method.name} asks the model many times, which no graph does: it cannot be written as a file; call explain")
        return self._runner.writer.whole(
            {
                "onnxplain.version": importlib.metadata.version("onnxplain"),
                "onnxplain.method": self.method.name,
                "onnxplain.params": json.dumps(self.method.params, default=jsonable),
                "onnxplain.output": self.question.output,
                "onnxplain.wrt": json.dumps(list(self.question.wrt)),
                "onnxplain.target_input": self._runner.writer.target_name,
                "onnxplain.source_sha256": self.source.sha256,
            }
        )

    @property
    def model(self) -> onnx.ModelProto:
        """The explainer as one self-contained model.

        Raises
        ------
        InputError
            The method asks the model by forward passes, again and again.
        """
        return self._whole.to_proto()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the explainer to one .onnx file, which plain ONNX Runtime runs.

        Its inputs are the model's and "target" (int64 [N], or [N, rank − 1] for outputs of higher rank; −1 is the argmax, −2 the
        sum over that axis); its outputs are the model's and "attribution", or one "attribution:<tensor>" each. A method that averages
        runs all its points at once there, and noise is drawn afresh at every run. A file holds at most 2 GiB, weights included.
        """
        write_model(self._whole, path)

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
        r = self._runner
        learned = r.method.fit(r.question, self._batches(X, progress), r.providers)
        self._runner = Runner(r.question, learned, r.providers, r.batch_size)
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
                size = q.fixed or (self._runner.per_run(feeds) if q.batch is not None else n)
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
        return self._runner.explain(inputs, target, progress)

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
        if not self.method.written:
            raise InputError(f"{self.method.name} asks the model by forward passes: there is no sweep to trace")
        batch, part = self._runner.at_once(inputs, target, "trace")
        got = self._runner.session("trace", batch.weighted).run(part)
        relevance = {k.removeprefix("relevance:"): v for k, v in got.items() if k.startswith("relevance:")}
        steps = []
        for node in reversed(self.question.flow.nodes):
            if (arrived := got.get(f"arrived:{node.outputs[0]}")) is not None:
                sent = got.get(f"sent:{node.outputs[0]}", np.zeros_like(arrived))
                finite = bool(np.isfinite(sent).all())
                steps.append(Step(node.proto.name or node.outputs[0], node.op_type, self.question.flow.kind(node), arrived, sent, finite))
        return Trace(relevance, steps)

    def probe(self, inputs: Any, target: Any = None) -> Probe:
        """Ask for the explained score at changed values of the attributed tensors; perturbation methods and evaluations are built on it.

        Parameters
        ----------
        inputs, target
            As for `explain`; None is each sample's argmax at the inputs themselves.

        Returns
        -------
        Probe
            Its `.x` and `.score` at the inputs; `.masked` and `.at` give scores elsewhere.
        """
        return self._runner.probe(inputs, target)


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
