"""What explanations cost on this machine: time in forward passes of ONNX Runtime, setup apart, and memory."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from tqdm import tqdm

from .device import resolved
from .errors import InputError, SessionError, choose, one_line
from .explainer import Explainer
from .feeds import Arrays, batch_of, feeds_of
from .files import replacing
from .model import Model, load
from .question import Question
from .session import options

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT_METHODS = ("gradient", "lrp", "integrated_gradients(steps=16)")
"""What is timed where nobody says it."""
FORWARD = "forward pass"
SETUPS = 3
"""So often a session and an explainer are made, for the time that it takes."""
PAUSE = 0.1
"""Seconds before each action: the threads of the last one, of ONNX Runtime or another library, wait for more work for about half of that."""


@dataclass(frozen=True, eq=False)
class Task:
    """What is timed, said so that a fresh process can do it too: a method, or the plain forward pass."""

    model: str
    feeds: Arrays
    method: Mapping[str, Any] | None = None
    bound: Mapping[str, Any] = field(default_factory=dict)

    def ready(self, forms: Sequence[tuple[str, bool, int]] = ()) -> Callable[[], Any]:
        """Load the model and, for a method, make its explainer with the sessions of some forms: what is left is to run it."""
        if self.method is None:
            return plain(self.model, self.feeds, self.bound.get("providers"))
        explainer = Explainer(self.model, **self.method, **self.bound)
        for form in forms:
            explainer._runner.session(*form)
        return Run(explainer, self.feeds)

    def setup(self, run: Callable[[], Any]) -> float:
        """Seconds until everything is ready that a run made use of."""
        return timed(lambda: self.ready(run.forms if isinstance(run, Run) else ()))


@dataclass(frozen=True, eq=False)
class Run:
    """An explainer with a batch."""

    explainer: Explainer
    feeds: Arrays

    def __call__(self) -> Any:
        return self.explainer.explain(self.feeds)

    @property
    def forms(self) -> list[tuple[str, bool, int]]:
        """The forms of the emitted model that explaining needed, and for how many points each was made."""
        return [(*form, session.rows) for form, session in self.explainer._runner._sessions.items()]


def plain(path: str, feeds: Arrays, providers: Sequence[Any] | None) -> Callable[[], Any]:
    """A forward pass of the model as it is, by ONNX Runtime alone."""
    try:
        session = ort.InferenceSession(path, options(), providers=resolved(providers))
    except Exception as error:
        raise SessionError(f"ONNX Runtime could not load {path}: {one_line(error)}") from error

    def run() -> Any:
        try:
            return session.run(None, feeds)
        except Exception as error:
            raise SessionError(f"ONNX Runtime failed to run the model: {one_line(error)}") from error

    return run


def timed(action: Callable[[], Any]) -> float:
    """Seconds by the clock."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


# ---- results ----


@dataclass(frozen=True)
class Cost:
    """What one row of the table costs.

    Attributes
    ----------
    name : str
    setup : float
        Seconds from the model's file to what is ready to run, the median of some times.
    runs : tuple of float
        Seconds of each run on the whole batch.
    memory : int, optional
        Bytes by which loading and one run raise the peak of a fresh process.
    """

    name: str
    setup: float
    runs: tuple[float, ...]
    memory: int | None = None

    @property
    def run(self) -> float:
        """The median run in seconds."""
        return float(np.median(self.runs))


@dataclass(frozen=True, eq=False)
class Costs:
    """A table of costs, the plain forward pass first.

    Attributes
    ----------
    rows : list of Cost
    batch : int
        Samples in a run.
    """

    rows: list[Cost]
    batch: int

    def ratios(self, row: Cost) -> np.ndarray:
        """A row's runs in forward passes of the same round."""
        return np.divide(row.runs, self.rows[0].runs)

    @property
    def records(self) -> list[dict[str, Any]]:
        """A row each, for a file: seconds, ratios to the forward pass (median, lowest, highest), bytes."""
        return [
            {"method": r.name, "batch": self.batch, "repeats": len(r.runs), "setup_s": r.setup, "run_s": r.run}
            | {"ratio": float(np.median(q := self.ratios(r))), "ratio_low": float(q.min()), "ratio_high": float(q.max()), "memory_bytes": r.memory}
            for r in self.rows
        ]

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the records to a .csv file."""
        from .evaluate.store import write_csv

        with replacing(path) as temporary:
            temporary.write_bytes(write_csv(self.records))

    def __str__(self) -> str:
        width = max(len(r.name) for r in self.rows)
        lines = [f"{'':{width}}  {'setup':>10}  {'run':>10}  {'× forward':>9}  {'lowest–highest':>14}  {'memory':>10}"]
        for r, record in zip(self.rows, self.records):
            memory = "–" if r.memory is None else f"{r.memory / 2**20:.0f} MiB"
            spread = f"{record['ratio_low']:.2f}–{record['ratio_high']:.2f}"
            lines.append(f"{r.name:{width}}  {seconds(r.setup):>10}  {seconds(r.run):>10}  {record['ratio']:>9.2f}  {spread:>14}  {memory:>10}")
        return "\n".join(lines)

    def figure(self) -> Figure:
        """Setup and run of each row as bars, on a logarithmic scale."""
        return bars({r.name: {"setup": r.setup, "run": r.run} for r in self.rows})


def seconds(s: float) -> str:
    """A time with three digits."""
    return f"{s:.3g} s" if s >= 1 else f"{1e3 * s:.3g} ms"


def bars(blocks: Mapping[str, Mapping[str, float]]) -> Figure:
    """Seconds as bars on a logarithmic scale: a block for each key, in it a bar of its own colour for each name (Alber 2019, Fig. 4)."""
    from matplotlib.figure import Figure

    from .evaluate.result import LINES

    names = list(dict.fromkeys(name for block in blocks.values() for name in block))
    starts = np.cumsum([0.0, *(len(block) + 0.7 for block in blocks.values())])
    figure = Figure(figsize=(8, 1 + 0.24 * starts[-1]), layout="constrained")
    ax = figure.add_subplot(xscale="log")
    for k, name in enumerate(names):
        own = [(start + list(block).index(name), block[name]) for start, block in zip(starts, blocks.values()) if name in block]
        drawn = ax.barh(*zip(*own), height=0.9, label=name, color=LINES[k % len(LINES)])
        ax.bar_label(drawn, [seconds(value) for _, value in own], padding=2, fontsize="small")
    places = [start + (len(block) - 1) / 2 for start, block in zip(starts, blocks.values())]
    ax.xaxis.set_major_formatter(lambda value, _: seconds(value))
    ax.xaxis.set_minor_formatter("")
    ax.set_yticks(places, labels=list(blocks), parse_math=False)
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=min(len(names), 4), frameon=False)
    return figure


# ---- inputs ----


def random_inputs(model: Model, batch: int, extents: Mapping[str, int], output: str | None = None) -> Arrays:
    """Inputs of the model's shapes: normal numbers for floats; ones for integers and truth values, which are good token ids, masks and lengths.

    Parameters
    ----------
    model : Model
    batch : int
        Samples, where the model's batch axis is symbolic.
    extents : dict name → int
        The other symbolic axes.
    output : str, optional
        The explained tensor, whose batch axis counts.
    """
    symbol = Question.ask(model, output).batch
    symbols = {d for t in model.inputs.values() for d in t.shape or () if isinstance(d, str)}
    for name in extents:
        choose("symbolic axis", name, symbols)
    known, rng = {**({symbol: batch} if isinstance(symbol, str) else {}), **extents}, np.random.default_rng(0)
    feeds = {}
    for name, t in model.inputs.items():
        if t.dtype is None or t.shape is None or t.dtype.kind not in "fiub":
            raise InputError(f"no random input can be made for {name!r}, which is {t}: give inputs, with --input")
        unknown = [d for d in t.shape if not isinstance(d, int) and d not in known]
        if unknown:
            remedy = f"say how long {unknown[0]} is, with --dim {unknown[0]}=N, or give inputs" if unknown[0] else "an axis has no name: give inputs"
            raise InputError(f"input {name!r} is {t}: {remedy}, with --input")
        shape = [d if isinstance(d, int) else known[str(d)] for d in t.shape]
        feeds[name] = rng.standard_normal(shape).astype(t.dtype) if t.is_float else np.ones(shape, t.dtype)
    return feeds


# ---- measuring ----


def bench(
    path: str | os.PathLike[str],
    feeds: Arrays,
    methods: Mapping[str, Mapping[str, Any]],
    *,
    repeats: int = 7,
    memory: bool = True,
    progress: bool = False,
    **bound: Any,
) -> Costs:
    """Time methods and the plain forward pass, turn by turn in one run.

    Parameters
    ----------
    path : path
        The model's file.
    feeds : dict name → array
        One batch.
    methods : dict label → dict
        {"method": name, **params} each.
    repeats : int, default 7
        Measured rounds; each runs everything once, every other one in reverse order. One more round before them is not measured.
    memory : bool, default True
        Measure the peak memory of each, in a process of its own.
    progress : bool, default False
        Show a progress bar.
    **bound
        Other arguments of `onnxplain.Explainer`; `providers` are the forward pass's too.

    Returns
    -------
    Costs

    Raises
    ------
    InputError, SessionError
        And what `onnxplain.Explainer` raises.
    """
    if repeats < 1:
        raise InputError(f"repeats must be at least 1, got {repeats}")
    question = Question.ask(load(path), bound.get("output"))
    feeds = feeds_of(question, feeds)
    tasks = {label: Task(os.fspath(path), feeds, m, bound) for label, m in {FORWARD: None, **methods}.items()}
    with tqdm(desc="bench", total=len(tasks) * (repeats + 1 + SETUPS + memory), disable=not progress) as bar:
        ready = {label: task.ready() for label, task in tasks.items()}
        runs = in_turns({label: lambda run=run: timed(run) for label, run in ready.items()}, repeats, bar)
        setups = in_turns({label: lambda label=label, task=task: task.setup(ready[label]) for label, task in tasks.items()}, SETUPS - 1, bar)
        ready.clear()  # the processes that follow may need its memory
        peaks: dict[str, int | None] = {}
        for label, task in tasks.items() if memory else ():
            peaks[label] = fresh_peak(task)
            bar.update()
    return Costs([Cost(label, float(np.median(setups[label])), tuple(runs[label]), peaks.get(label)) for label in tasks], batch_of(question, feeds))


def in_turns(actions: Mapping[str, Callable[[], float]], repeats: int, bar: Any) -> dict[str, list[float]]:
    """What each action answers, in rounds of all of them, every other one turned round; the first round does not count."""
    found: dict[str, list[float]] = {label: [] for label in actions}
    for turn in range(repeats + 1):
        for label in list(actions)[:: -1 if turn % 2 else 1]:
            time.sleep(PAUSE)
            value = actions[label]()
            if turn:
                found[label].append(value)
            bar.update()
    return found


# ---- memory ----


def fresh_peak(task: Task) -> int | None:
    """Bytes by which a task raises the peak of a process that has loaded nothing but the library; None where that cannot be had."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", "-c", f"from {__name__} import _answer; _answer()"]
    done = subprocess.run(command, input=pickle.dumps(task), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else None


def _answer() -> None:
    """In the fresh process: do the task that comes in."""
    task: Task = pickle.load(sys.stdin.buffer)
    before = peak_memory()
    task.ready()()
    after = peak_memory()
    print("" if before is None or after is None else after - before)


def peak_memory() -> int | None:
    """The most bytes of memory that this process has held so far."""
    try:  # not getrusage's, which on Linux starts from the peak of the process that started this one
        facts = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(facts["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):
        pass
    try:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    except ImportError:
        pass
    try:
        import psutil

        return psutil.Process().memory_info().peak_wset
    except (ImportError, AttributeError):
        return None
