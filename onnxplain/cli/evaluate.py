"""The command line's `onnxplain evaluate …`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ..errors import InputError, choose
from ..files import require_folder
from .flags import BatchSize, Inputs, Labels, ModelPath, NoFuse, Output, Params, Preprocess, Progress, Providers, Target, Wrt

DEFAULT_METHODS = "integrated_gradients,input_x_gradient,lrp,random,sobel"
NAMES = "Methods, with commas between; random, magnitude, sobel and laplacian too."

app = typer.Typer(
    help="Measure explanations: which method, and which parameters, to trust for a model.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

Probability = Annotated[bool, typer.Option("--probability", help="Ask for the explained class's probability instead of its score.")]
Region = Annotated[int, typer.Option(metavar="N", help="Blocks of N places along each axis are replaced together.")]
Steps = Annotated[int, typer.Option(metavar="N", help="The number of steps in which everything is replaced.")]
Fill = Annotated[str, typer.Option(metavar="FILL", help="What stands in their place: a number, blur, mean, noise or inpaint.")]
Absolute = Annotated[bool, typer.Option("--absolute", help="Go by the magnitude of the relevance.")]
Relative = Annotated[bool, typer.Option("--relative", help="Scale each sample's curve to go from 1 to 0.")]
Metrics = Annotated[str, typer.Option("--metric", metavar="NAMES", help="Metrics, with commas between them.")]
MetricParams = Annotated[
    list[str] | None, typer.Option("--metric-param", metavar="METRIC.KEY=VALUE", help="Parameter of a metric, JSON or text; KEY=VALUE for all that have it.")
]


# ---- what all commands take ----


@dataclass(frozen=True)
class Asked:
    """The model, the methods and how they are asked, as all commands take them."""

    model: Path
    named: Sequence[str]
    """The methods, where they were named."""
    param: Sequence[str] | None
    bound: dict[str, Any]
    preprocess: Path | None
    labels: str | None
    seed: int
    out: Path | None
    plot: Path | None
    progress: bool

    @cached_property
    def loaded(self) -> Any:
        from ..model import load

        return load(self.model, fuse=self.bound["fuse"])

    @property
    def preprocessing(self) -> Any:
        from ..preprocess import Preprocessing

        return Preprocessing.for_model(self.loaded, self.model, self.preprocess, labels=self.labels)

    def methods(self, default: str = DEFAULT_METHODS) -> dict[str, Any]:
        """The methods with their parameters; baselines have none."""
        from .. import options
        from ..evaluate.baselines import BASELINES
        from ..methods import METHODS

        names = [choose("method", name, [*METHODS, *BASELINES]) for name in self.named or default.split(",")]
        own = [name for name in names if name in METHODS]
        made = dict(zip(own, options.explainers(self.loaded, own, self.param, {k: v for k, v in self.bound.items() if k != "fuse"})))
        return {name: made.get(name, name) for name in names}

    @property
    def common(self) -> dict[str, Any]:
        """Keywords of every function."""
        return {"seed": self.seed, "store": self.out, "progress": self.progress, **self.bound}

    def batch(self, inputs: Sequence[Path], target: list[str] | None) -> dict[str, Any]:
        """Keywords of the functions that take samples."""
        from ..inputs import read
        from ..options import targets

        preprocessing = self.preprocessing
        batch = read(inputs, self.loaded, preprocessing)
        return {"X": batch.feeds, "names": batch.names, "target": targets(target, preprocessing.labels, self.loaded, self.bound["output"])}

    def report(self, result: Any, figure: Callable[[], Any] | None = None) -> None:
        """Print the table, and draw the picture if one was asked for."""
        from ..plot import save

        typer.echo(str(result))
        if self.out is not None:
            typer.echo(f"wrote {self.out}")
        if self.plot is not None:
            save(figure() if figure else result.plot().figure, self.plot)
            typer.echo(f"wrote {self.plot}")


def _asked(
    model: ModelPath,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", metavar="NAMES", help=f"{NAMES} Default: {DEFAULT_METHODS}."),
    ] = None,
    param: Params = None,
    output: Output = None,
    wrt: Wrt = None,
    no_fuse: NoFuse = False,
    batch_size: BatchSize = None,
    provider: Providers = None,
    preprocess: Preprocess = None,
    labels: Labels = None,
    seed: Annotated[int, typer.Option(metavar="N", help="The seed of all that metrics draw at random.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Rows go to this .csv or .parquet file; a run that was stopped goes on where it was.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the results: .png, .pdf, .svg.")] = None,
    progress: Progress = None,
) -> Asked:
    from .. import options
    from ..plot import check_name

    if plot is not None:
        check_name(plot)
        require_folder(plot)
    names = list(dict.fromkeys(name.strip() for text in method or [] for name in text.split(",") if name.strip()))
    bound = options.bound(output, wrt, batch_size, provider) | {"fuse": not no_fuse}
    shown = options.shown(progress)
    return Asked(model, names, param, bound, preprocess, labels, seed, out, plot, shown)


def command(name: str, *, without: Sequence[str] = (), **helps: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command that takes `Asked` first, and on the command line all that it is made of, some options with a help of their own."""

    def decorate(run: Callable[..., None]) -> Callable[..., None]:
        shared = {n: p for n, p in inspect.signature(_asked).parameters.items() if n not in without}
        own = dict(list(inspect.signature(run).parameters.items())[1:])
        arguments = {n: p for n, p in own.items() if p.default is p.empty}
        merged = {"model": shared["model"], **arguments, **{n: p for n, p in (*own.items(), *shared.items()) if p.default is not p.empty}}

        def call(**given: Any) -> None:
            run(_asked(**{n: given.pop(n) for n in shared}), **given)

        hints = get_type_hints(_asked, include_extras=True) | get_type_hints(run, include_extras=True)
        for n, text in helps.items():
            option = copy(hints[n].__metadata__[0])
            option.help = text
            hints[n] = Annotated[hints[n].__origin__, option]
        call.__doc__, call.__annotations__ = run.__doc__, {n: hints[n] for n in merged}
        call.__signature__ = inspect.Signature([p.replace(kind=p.KEYWORD_ONLY, annotation=hints[n]) for n, p in merged.items()])  # type: ignore[attr-defined]
        app.command(name)(call)
        return run

    return decorate


# ---- the commands ----


@command("deletion")
def deletion(
    asked: Asked,
    inputs: Inputs,
    target: Target = None,
    region: Region = 1,
    steps: Steps = 20,
    fill: Fill = "0",
    order: Annotated[str, typer.Option(metavar="NAME", help="What goes first: the most or the least relevant.")] = "most",
    absolute: Absolute = False,
    relative: Relative = False,
    probability: Probability = False,
) -> None:
    """The area under the score while the most relevant is taken away first: lower is better.

    \b
    Examples:
      onnxplain evaluate deletion models/digits.onnx models/digits/*.png
      onnxplain evaluate deletion net.onnx photos/*.jpg -m lrp,grad_cam,random --region 8 --fill blur --plot curves.png
    """
    from .. import options
    from ..evaluate.faithfulness import deletion as metric

    params = {"region": region, "steps": steps, "fill": options.value_of(fill), "order": order, "absolute": absolute, "relative": relative}
    asked.report(metric(asked.loaded, methods=asked.methods(), probability=probability, **asked.batch(inputs, target), **asked.common, **params))


@command("insertion")
def insertion(
    asked: Asked,
    inputs: Inputs,
    target: Target = None,
    region: Region = 1,
    steps: Steps = 20,
    fill: Fill = "0",
    absolute: Absolute = False,
    relative: Relative = False,
    probability: Probability = False,
) -> None:
    """The area under the score while the most relevant is put back first: higher is better.

    \b
    Example:  onnxplain evaluate insertion models/digits.onnx models/digits/*.png --fill blur --plot curves.png
    """
    from .. import options
    from ..evaluate.faithfulness import insertion as metric

    params = {"region": region, "steps": steps, "fill": options.value_of(fill), "absolute": absolute, "relative": relative}
    asked.report(metric(asked.loaded, methods=asked.methods(), probability=probability, **asked.batch(inputs, target), **asked.common, **params))


@command("measure")
def measure(
    asked: Asked,
    inputs: Inputs,
    metric: Metrics = "deletion_auc,insertion_auc,sensitivity_n,max_sensitivity,sparseness",
    metric_param: MetricParams = None,
    target: Target = None,
    probability: Probability = False,
) -> None:
    """Methods against any metrics: a table with a row for each method.

    \b
    Example:  onnxplain evaluate measure models/digits.onnx models/digits/*.png --metric deletion_auc,infidelity,complexity -o results.csv
    """
    from ..evaluate.comparing import compare

    chosen = _metrics(metric, metric_param)
    asked.report(compare(asked.loaded, methods=asked.methods(), metrics=chosen, probability=probability, **asked.batch(inputs, target), **asked.common))


@command("agreement", without=["seed"], out="Rows go to this .csv file.")
def agreement(
    asked: Asked,
    inputs: Inputs,
    similarity: Annotated[str, typer.Option(metavar="NAMES", help="spearman, ssim, top_k, with commas.")] = "spearman",
    absolute: Absolute = False,
    target: Target = None,
) -> None:
    """How alike the methods' maps are, pair by pair.

    \b
    Example:  onnxplain evaluate agreement models/digits.onnx models/digits/*.png -m gradient,lrp,sobel --similarity spearman,ssim
    """
    from ..evaluate.agreeing import agreement as compared
    from ..evaluate.study import Study

    if asked.out is not None and asked.out.suffix != ".csv":
        raise InputError(f"cannot write {asked.out}: agreement goes to a .csv file")
    batch = asked.batch(inputs, target)
    explainers = Study(asked.loaded, asked.methods(), asked.bound).explainers
    explanations = {name: e.explain(batch["X"], batch["target"], progress=asked.progress) for name, e in explainers.items()}
    result = compared(explanations, similarity.split(","), absolute=absolute, names=batch["names"])
    if asked.out is not None:
        result.to_csv(asked.out)
    asked.report(result)


@command("randomisation")
def randomisation(
    asked: Asked,
    inputs: Inputs,
    mode: Annotated[str, typer.Option(metavar="NAME", help="cascading: all layers down to this one; independent: this one alone.")] = "cascading",
    similarity: Annotated[str, typer.Option(metavar="NAME", help="spearman, ssim or top_k.")] = "spearman",
    absolute: Absolute = False,
    target: Target = None,
) -> None:
    """How alike maps stay when the network's layers are drawn anew, from the output down.

    A method whose maps stay alike does not show what the network learned.

    \b
    Example:  onnxplain evaluate randomisation models/digits.onnx models/digits/*.png -m gradient,guided_backprop,lrp --plot layers.png
    """
    from ..evaluate.randomising import randomisation as measured

    params: dict[str, Any] = {"mode": mode, "similarity": similarity, "absolute": absolute}
    asked.report(measured(asked.loaded, methods=asked.methods(), **asked.batch(inputs, target), **asked.common, **params))


@command("search", without=["param"], method="Methods to try as they are, with commas; random, magnitude, sobel or laplacian too.")
def search(
    asked: Asked,
    inputs: Inputs,
    grid: Annotated[
        list[str],
        typer.Option("--grid", "-g", metavar="METHOD.KEY=V1,V2,…", help="Values to try; all combinations of a method's are. Repeatable.", show_default=False),
    ] = [],  # noqa: B006  (Typer copies it)
    metric: Annotated[str, typer.Option(metavar="NAME", help="The metric that decides.")] = "deletion_auc",
    metric_param: MetricParams = None,
    target: Target = None,
    probability: Probability = False,
) -> None:
    """Find the method and the parameters that a metric likes best.

    \b
    Example:
      onnxplain evaluate search models/digits.onnx models/digits/*.png -m random \\
          -g smoothgrad.noise_scale=0.05,0.1,0.2 -g integrated_gradients.baseline=0,0.5,1 --plot search.png
    """
    from .. import options
    from ..comparison import specs
    from ..evaluate.searching import search as tried

    grids: dict[str, dict[str, Any]] = {name: {} for name in asked.named}
    for text in grid:
        key, equals, values = text.partition("=")
        name, dot, parameter = key.partition(".")
        if not (equals and dot and values):
            raise InputError(f"--grid {text!r}: wanted METHOD.KEY=VALUE,VALUE")
        grids.setdefault(name, {})[parameter] = [options.value_of(v) for v in specs.split(values)]
    found = tried(asked.loaded, methods=grids, metric=_metrics(metric, metric_param), probability=probability, **asked.batch(inputs, target), **asked.common)
    asked.report(found)


@command("boxes", method=f"{NAMES} Default: lrp.")
def boxes(
    asked: Asked,
    images: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of the images.", show_default=False)],
    annotations: Annotated[
        Path,
        typer.Argument(metavar="BOXES", help="COCO .json, Pascal VOC .xml or a folder of them, or .csv: file,class,xmin,ymin,xmax,ymax.", show_default=False),
    ],
    explain: Annotated[str, typer.Option(metavar="NAME", help="What is explained: the predicted or the annotated class.")] = "predicted",
    metric: Metrics = "box_ratio",
    metric_param: MetricParams = None,
    count: Annotated[int, typer.Option(metavar="N", help="So many images on the contact sheet of --plot.")] = 12,
) -> None:
    """How much of the attribution lies inside the objects' boxes: the worst classes first.

    A class with a low ratio is recognised by its background.

    \b
    Example:  onnxplain evaluate boxes net.onnx photos/ annotations.json -m lrp --labels imagenet.txt -o boxes.csv --plot worst.png
    """
    from ..checks import count_fits
    from ..evaluate.boxes import Boxes

    count_fits(count, "--count")
    common = asked.common
    store, progress = common.pop("store"), common.pop("progress")
    study = Boxes(asked.loaded, images, annotations, asked.methods("lrp"), explain=explain, preprocessing=asked.preprocessing, **common)
    result = study.evaluate(_metrics(metric, metric_param), store=store, progress=progress)
    asked.report(result, lambda: study.sheet(result, count))


# ---- text to values ----


def _metrics(names: str, given: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """Metrics with their parameters."""
    from .. import options
    from ..evaluate.metric import METRICS

    chosen: dict[str, dict[str, Any]] = {choose("metric", name.strip(), METRICS): {} for name in names.split(",") if name.strip()}
    for text in given or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--metric-param {text!r}: wanted KEY=VALUE")
        head, dot, tail = key.rpartition(".")
        having = [choose("metric in --metric-param", head, chosen)] if dot else [name for name in chosen if tail in METRICS[name].params]
        if not having:
            raise InputError(f"--metric-param {text!r}: none of {', '.join(chosen)} has a parameter {tail!r}")
        for name in having:
            chosen[name][tail] = options.value_of(value)
    return chosen
