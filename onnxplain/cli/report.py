"""The command line's `onnxplain report`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError
from ..files import require_folder
from ..html_report import DEFAULT_METHODS
from .flags import BatchSize, Channels, Inputs, Labels, ModelPath, NoFuse, Output, Params, Preprocess, Progress, Providers, Target, Wrt

MethodSpecs = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        "-m",
        metavar="METHOD",
        help=f"NAME, NAME(KEY=VALUE,…), either with :TECHNIQUE; several with commas. Default: {','.join(DEFAULT_METHODS)}.",
        show_default=False,
    ),
]


def report(
    context: typer.Context,
    model: ModelPath,
    inputs: Inputs,
    method: MethodSpecs = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The page, an .html file.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="The page's heading.")] = None,
    target: Target = None,
    param: Params = None,
    output: Output = None,
    wrt: Wrt = None,
    no_fuse: NoFuse = False,
    batch_size: BatchSize = None,
    provider: Providers = None,
    preprocess: Preprocess = None,
    labels: Labels = None,
    vocabulary: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Texts of token ids: JSON list or object token → id, or a text file with a token a line.")
    ] = None,
    channels: Channels = "sum",
    curves: Annotated[bool, typer.Option("--curves/--no-curves", help="Deletion and insertion curves.")] = True,
    progress: Progress = None,
) -> None:
    """Write a report on explanations: one HTML file that needs no network.

    \b
    Examples:
      onnxplain report models/digits.onnx models/digits/*.png -o report.html
      onnxplain report net.onnx photos/*.jpg -m integrated_gradients,lrp --labels imagenet.txt --no-curves
    """
    from .. import options
    from ..comparison import specs
    from ..comparison.case import Case
    from ..files import replacing
    from ..html_report.page import page

    require_folder(out, inputs=[model, *inputs])
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"cannot write {out}: wanted a name that ends in .html")
    rows = specs.methods_of(method or DEFAULT_METHODS, param)
    words = None if vocabulary is None else _vocabulary(vocabulary)
    bound = options.bound(output, wrt, batch_size, provider)
    case = Case.read(model, inputs, preprocess, labels, not no_fuse, targets=target, channels=channels, bound=bound)
    shown = options.shown(progress)
    command = shlex.join(["onnxplain", *context.obj])
    text = page(case, rows, words, curves, title or f"Explanations of {case.name}", command, shown)
    with replacing(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {out} ({out.stat().st_size:,} bytes)")


def _vocabulary(path: Path) -> dict[int, str]:
    """Token ids' texts; padding, which is not shown, has none."""
    try:
        text = path.read_text(encoding="utf-8")
        known: Any = json.loads(text) if path.suffix.lower() == ".json" else text.split("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the vocabulary {path}: {getattr(error, 'strerror', None) or error}") from None
    if isinstance(known, list):
        known = {str(token): k for k, token in enumerate(known)}
    if not isinstance(known, dict) or not all(isinstance(i, int) for i in known.values()):
        raise InputError(f"the vocabulary {path} must be a list of tokens or an object token → id")
    return {i: "" if token.strip("<[]>").lower() == "pad" else token for token, i in known.items()}
