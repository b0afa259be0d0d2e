"""The command line's `onnxplain compare`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from ..comparison import DEFAULT_METHODS
from ..errors import InputError
from ..files import require_folder
from .flags import BatchSize, Channels, Inputs, Labels, ModelPath, NoFuse, Output, Params, Progress, Providers, Target, Wrt

MethodSpecs = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        "-m",
        metavar="METHOD",
        help=f"Rows: NAME, NAME(KEY=VALUE,…), either with :TECHNIQUE; several with commas. Default: {','.join(DEFAULT_METHODS)}.",
        show_default=False,
    ),
]
Models = Annotated[list[Path] | None, typer.Option("--model", metavar="FILE", help="A further model, a column for each; repeatable.")]
Classes = Annotated[list[str] | None, typer.Option("--class", "-c", metavar="CLASS", help="A column for each of these classes of one input; repeatable.")]
Vary = Annotated[
    list[str] | None, typer.Option(metavar="METHOD.KEY=V1,V2,…", help="A row whose columns are the values of a parameter; in place of -m; repeatable.")
]
Visuals = Annotated[
    list[str] | None,
    typer.Option("--visual", metavar="TECHNIQUE", help="A row for each technique: heatmap, graymap, …, NAME(KEY=VALUE,…); several with commas."),
]


def compare(
    model: ModelPath,
    inputs: Inputs,
    method: MethodSpecs = None,
    models: Models = None,
    classes: Classes = None,
    vary: Vary = None,
    visual: Visuals = None,
    transpose: Annotated[bool, typer.Option("--transpose", help="Methods in columns, inputs in rows.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The picture: .png, .pdf, .svg.")] = Path("comparison.png"),
    target: Target = None,
    param: Params = None,
    output: Output = None,
    wrt: Wrt = None,
    no_fuse: NoFuse = False,
    batch_size: BatchSize = None,
    provider: Providers = None,
    preprocess: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="JSON of how images become inputs, one for each model. Default: the .json beside the model.")
    ] = None,
    labels: Labels = None,
    channels: Channels = "sum",
    progress: Progress = None,
) -> None:
    """Draw explanations side by side: methods × inputs, classes, models, or values of a parameter.

    \b
    Examples:
      onnxplain compare models/digits.onnx models/digits/*.png -o methods.png
      onnxplain compare models/digits.onnx models/digits/3.png -c 2 -c 3 -c 8 -m gradient,lrp -o classes.png
      onnxplain compare a.onnx photo.jpg --model b.onnx --labels imagenet.txt -o models.png
      onnxplain compare models/digits.onnx models/digits/3.png --vary smoothgrad.noise_scale=0.05,0.1,0.2,0.5 -o values.png
      onnxplain compare models/digits.onnx models/digits/*.png -m lrp --visual graymap,heatmap,blend -o looks.png
    """
    from .. import options
    from ..comparison import layouts, specs
    from ..comparison.case import Case
    from ..plot import check_name, save

    check_name(out)
    require_folder(out, inputs=[model, *(models or []), *inputs])
    if sum(bool(given) for given in (models, classes, vary)) > 1:
        raise InputError("compare either models (--model), or classes (--class), or values (--vary)")
    paths, settings = [model, *(models or [])], preprocess or []
    if len(settings) not in (0, len(paths)):
        raise InputError(f"--preprocess: {len(settings)} files were given for {len(paths)} models, wanted one for each")
    if vary and (method or visual or param):
        raise InputError("--vary says methods and parameters itself: leave out --method, --param and --visual")
    rows: list[Any] = [specs.varied(text) for text in vary or []] or specs.methods_of(method or DEFAULT_METHODS, param)
    visuals = [specs.visual_of(part) for text in visual or [] for part in specs.split(text)] or None
    bound = options.bound(output, wrt, batch_size, provider)
    shown = options.shown(progress)
    read = partial(Case.read, files=inputs, labels=labels, fuse=not no_fuse, targets=target, channels=channels, bound=bound)
    with tqdm(zip(paths, settings or [None] * len(paths)), "reading", len(paths), leave=False, unit="model", disable=not shown) as bar:
        cases = [read(path, settings=s) for path, s in bar]
    if models:
        table = layouts.by_models(cases, rows, visuals, shown)
    elif classes:
        table = layouts.by_classes(cases[0], rows, [options.targets([c], cases[0].labels, cases[0].model, output) for c in classes], visuals, shown)
    elif vary:
        table = layouts.by_values(cases[0], rows, shown)
    else:
        table = layouts.by_inputs(cases[0], rows, visuals, shown)
    save((table.transposed() if transpose else table).figure(), out)
    typer.echo(f"wrote {out}")
