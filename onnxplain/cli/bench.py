"""The command line's `onnxplain bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..bench import DEFAULT_METHODS, random_inputs
from ..bench import bench as measured
from ..errors import InputError
from ..files import require_folder
from .flags import BatchSize, ModelPath, NoFuse, Output, Params, Preprocess, Progress, Providers, Wrt


def bench(
    model: ModelPath,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", metavar="METHOD", help=f"NAME or NAME(KEY=VALUE,…); several with commas. Default: {','.join(DEFAULT_METHODS)}."),
    ] = None,
    inputs: Annotated[
        list[Path] | None, typer.Option("--input", "-i", metavar="FILE", help="Images, .npy, .npz or .csv: the batch; repeatable. Default: random numbers.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Random samples in a run.")] = 4,
    dim: Annotated[list[str] | None, typer.Option(metavar="AXIS=N", help="Extent of another symbolic axis of the random inputs; repeatable.")] = None,
    repeats: Annotated[int, typer.Option(min=1, metavar="N", help="Rounds that count, after one that does not.")] = 7,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Measure peak memory, in a process for each method.")] = True,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the table to this .csv file.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the times: .png, .pdf, .svg.")] = None,
    param: Params = None,
    output: Output = None,
    wrt: Wrt = None,
    no_fuse: NoFuse = False,
    batch_size: BatchSize = None,
    provider: Providers = None,
    preprocess: Preprocess = None,
    progress: Progress = None,
) -> None:
    """Time methods on your model and machine: in forward passes, setup apart, with peak memory.

    \b
    Examples:
      onnxplain bench models/digits.onnx
      onnxplain bench net.onnx -m gradient,lrp -m "lrp(composite=epsilon)" --batch 8 --out table.csv --plot bench.png
      onnxplain bench text.onnx --dim tokens=128
    """
    from .. import options
    from ..comparison import specs
    from ..inputs import read
    from ..model import load
    from ..plot import check_name, save
    from ..preprocess import Preprocessing

    require_folder(out, plot, inputs=[model, *(inputs or [])])
    if out is not None and out.suffix.lower() != ".csv":
        raise InputError(f"cannot write {out}: wanted a name that ends in .csv")
    if plot is not None:
        check_name(plot)
    chosen = {}
    for label, params in specs.methods_of(method or DEFAULT_METHODS, param):
        if "visual" in params:
            raise InputError(f"method {label!r}: a technique is for pictures, leave out what stands after the colon")
        chosen[", ".join(label.split("\n"))] = params
    loaded = load(model)
    if inputs:
        feeds = read(inputs, loaded, Preprocessing.for_model(loaded, model, preprocess)).feeds
    else:
        feeds = random_inputs(loaded, batch, _extents(dim or []), output)
    bound = options.bound(output, wrt, batch_size, provider) | {"fuse": not no_fuse}
    shown = options.shown(progress)
    costs = measured(model, feeds, chosen, repeats=repeats, memory=memory, progress=shown, **bound)
    typer.echo(f"{model}, {', '.join(f'{n} {list(v.shape)}' for n, v in feeds.items())}; medians of {repeats} rounds")
    typer.echo(str(costs))
    if out is not None:
        costs.to_csv(out)
        typer.echo(f"wrote {out}")
    if plot is not None:
        save(costs.figure(), plot)
        typer.echo(f"wrote {plot}")


def _extents(given: list[str]) -> dict[str, int]:
    extents = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not value.isdigit() or not int(value):
            raise InputError(f"--dim {text!r}: wanted AXIS=N with a positive N")
        extents[name] = int(value)
    return extents
