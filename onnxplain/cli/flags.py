"""Arguments and options that several commands of the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="The .onnx file.", show_default=False)]
Inputs = Annotated[list[Path], typer.Argument(metavar="INPUT", help="Images, or .npy, .npz or .csv files.", show_default=False)]
Output = Annotated[
    str | None, typer.Option(metavar="TENSOR", help="The output to explain, or any tensor inside. Default: the first, before a trailing Softmax or Sigmoid.")
]
Wrt = Annotated[
    list[str] | None, typer.Option(metavar="TENSOR", help="The input to attribute to, or any tensor inside; repeatable. Default: the float inputs.")
]
NoFuse = Annotated[bool, typer.Option("--no-fuse", help="Keep batch normalisation as a layer of its own.")]
Params = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="KEY=VALUE",
        help="Parameter of the methods that have it: JSON or @array.npy; METHOD.KEY=VALUE for one. Repeatable.",
    ),
]
Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        metavar="CLASS",
        help="A number, a name from the labels, or indices like 4,2. Repeat it for one a sample; 'all' among indices sums over an axis.",
    ),
]
BatchSize = Annotated[int | None, typer.Option(metavar="N", help="The most points in one run. Default: 16, fewer where memory is scarce.")]
Providers = Annotated[
    list[str] | None, typer.Option("--provider", metavar="NAME", help="Where ONNX Runtime computes: cpu, cuda, …; repeatable, first choice first.")
]
Labels = Annotated[str | None, typer.Option(metavar="FILE", help="Names of the classes, one a line.")]
Channels = Annotated[str, typer.Option(metavar="NAME", help="Picture: sum, norm or max over an image's channels.")]
Preprocess = Annotated[Path | None, typer.Option(metavar="FILE", help="JSON of how images become inputs. Default: the .json beside the model.")]
Progress = Annotated[bool | None, typer.Option("--progress/--no-progress", help="Show progress. Default: on a terminal.", show_default=False)]
