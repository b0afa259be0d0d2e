"""The command line's `onnxplain explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError, choose
from ..files import require_folder, require_npz
from .flags import BatchSize, Channels, Inputs, Labels, ModelPath, NoFuse, Output, Params, Progress, Providers, Target, Wrt

ROWS = 16
"""So many samples at most are drawn in one picture."""

Methods = Annotated[list[str] | None, typer.Option("--method", "-m", metavar="NAME", help="Method, or several with commas. Default: integrated_gradients.")]


def explain(
    model: ModelPath,
    inputs: Inputs,
    method: Methods = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="The picture: .png, .pdf, .svg. Default: explanation.png; none with --save alone.")
    ] = None,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the numbers to this .npz file; with several methods, one file each.")] = None,
    fit_to: Annotated[
        list[Path] | None, typer.Option("--fit", metavar="FILE", help="Data that methods learn from first, such as pattern_net or lime; repeatable.")
    ] = None,
    target: Target = None,
    param: Params = None,
    output: Output = None,
    wrt: Wrt = None,
    no_fuse: NoFuse = False,
    batch_size: BatchSize = None,
    provider: Providers = None,
    preprocess: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON with the settings below. Default: the .json beside the model.")] = None,
    layout: Annotated[str | None, typer.Option(metavar="NAME", help="Images: NCHW or NHWC. Default: by the input's shape.")] = None,
    color: Annotated[str | None, typer.Option(metavar="NAME", help="Images: RGB, BGR or gray.")] = None,
    size: Annotated[str | None, typer.Option(metavar="HxW", help="Images: height and width, such as 224x224. Default: the model's.")] = None,
    resize: Annotated[str | None, typer.Option(metavar="NAME", help="Images: squash to the size, or crop its centre.")] = None,
    short_side: Annotated[int | None, typer.Option(metavar="N", help="Images: scale the short side to this before cropping.")] = None,
    scale: Annotated[str | None, typer.Option(metavar="X", help="Images: pixels from 0 to 255 are multiplied by this. Default: 1/255.")] = None,
    mean: Annotated[str | None, typer.Option(metavar="X,X,X", help="Images: subtracted after scaling, one number or one a channel.")] = None,
    std: Annotated[str | None, typer.Option(metavar="X,X,X", help="Images: divided by after that.")] = None,
    labels: Labels = None,
    channels: Channels = "sum",
    progress: Progress = None,
) -> None:
    """Explain predictions, as a picture or as numbers.

    \b
    Examples:
      onnxplain explain models/digits.onnx models/digits/3.png
      onnxplain explain models/digits.onnx models/digits/*.png -m gradient,smoothgrad -p samples=20 -o picture.png
      onnxplain explain net.onnx photo.jpg --target "Egyptian cat" --labels imagenet.txt --resize crop --short-side 256
    """
    from .. import options
    from ..inputs import read
    from ..model import load
    from ..preprocess import Preprocessing

    out = Path("explanation.png") if out is None and save is None else out
    _check_writable(out, save, channels, [model, *inputs, *(fit_to or [])])
    loaded = load(model, fuse=not no_fuse)
    flags: dict[str, Any] = {"layout": layout, "color": color, "size": options.size(size), "resize": resize, "short_side": short_side, "labels": labels}
    flags |= {"scale": options.numbers("--scale", scale), "mean": options.numbers("--mean", mean), "std": options.numbers("--std", std)}
    preprocessing = Preprocessing.for_model(loaded, model, preprocess, **flags)
    batch = read(inputs, loaded, preprocessing)
    names = options.methods(method)
    chosen = options.targets(target, preprocessing.labels, loaded, output)
    show_progress = options.shown(progress)
    bound = options.bound(output, wrt, batch_size, provider)
    explanations = []
    data = read(fit_to, loaded, preprocessing).feeds if fit_to else None
    explainers = options.explainers(loaded, names, param, bound)
    if data is not None and not any(explainer.method.learns for explainer in explainers):
        raise InputError(f"--fit: {', '.join(names)} learn{'s' * (len(names) == 1)} nothing from data")
    for explainer in explainers:
        if data is not None and explainer.method.learns:
            explainer.fit(data, progress=show_progress)
        explanations.append(explainer.explain(batch.feeds, chosen, progress=show_progress))
    _print_answers(explanations, batch.names, preprocessing.labels, output)
    if save is not None:
        for e, path in zip(explanations, _save_paths(save, names)):
            e.save(path)
            typer.echo(f"wrote {path}")
    if out is not None:
        _draw(explanations, batch, out, preprocessing, output, channels)


def _check_writable(out: Path | None, save: Path | None, channels: str, inputs: list[Path]) -> None:
    """Before the work, not after it."""
    if save is not None:
        require_npz(save, "--save")
    require_folder(out, save, inputs=inputs)
    if out is not None:
        from ..plot import check_name
        from ..plot.maps import CHANNELS

        check_name(out)
        choose("channels", channels, CHANNELS)


def _save_paths(save: Path, names: list[str]) -> list[Path]:
    return [save] if len(names) == 1 else [save.with_name(f"{save.stem}.{name}.npz") for name in names]


def _draw(explanations: list[Any], batch: Any, out: Path, preprocessing: Any, output: str | None, channels: str) -> None:
    from ..plot import grid
    from ..plot import save as write

    count = len(explanations[0].target)
    if count > ROWS:
        typer.echo(f"the picture shows the first {ROWS} of {count} samples", err=True)
    style = {"layout": preprocessing.layout, "features": batch.features, "channels": channels}
    shown = {"pictures": batch.pictures, "names": batch.names, "labels": preprocessing.labels, "samples": range(min(ROWS, count))}
    write(grid(explanations, output=output, **shown, **style), out)
    typer.echo(f"wrote {out}")


def _print_answers(explanations: list[Any], names: list[str] | None, labels: Any, output: str | None) -> None:
    from ..prediction import answers, check_labels, explained

    check_labels(explanations[0], labels, output)
    for k, name in enumerate(names or [f"input {k}" for k in range(len(explanations[0].target))]):
        best, what = answers(explanations[0], k, labels, output=output), explained(explanations[0], k, labels, output=output)
        told = f"; explained: {what}" if not best or what != best[0].label else ""
        typer.echo(f"{name}: {', '.join(map(str, best)) or 'no classes among the outputs'}{told}")
    for e in explanations:
        if e.delta is not None:
            typer.echo(_completeness(e))


def _completeness(e: Any) -> str:
    """How far the attributions are from adding up, at the worst of the samples."""
    n, worst = len(e.delta), int(abs(e.delta).argmax())
    off, parts = float(abs(e.delta[worst])), [a for a in e.attributions.values() if a.ndim and len(a) == n]
    promised = abs(float(sum(a[worst].sum(dtype=float) for a in parts) - e.delta[worst]))
    if len(parts) == len(e.attributions) and off > promised / 10:
        than = f"where the score's difference is {promised:.2g}" if promised > 1e-5 * off else "far more than the score's difference"
        return f"{e.method}: attributions do not add up: {off:.2g} are missing or too much, {than}"
    return f"{e.method}: attributions add up to the score's difference within {off:.2g}"
