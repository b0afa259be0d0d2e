"""The command line's `onnxplain fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..files import require_folder, require_npz
from .flags import BatchSize, Inputs, ModelPath, NoFuse, Params, Preprocess, Progress, Providers


def fit(
    model: ModelPath,
    inputs: Inputs,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The patterns to write, an .npz file.", show_default=False)],
    method: Annotated[str, typer.Option("--method", "-m", metavar="NAME", help="pattern_net or pattern_attribution.")] = "pattern_attribution",
    param: Params = None,
    no_fuse: NoFuse = False,
    batch_size: BatchSize = None,
    provider: Providers = None,
    preprocess: Preprocess = None,
    progress: Progress = None,
) -> None:
    """Learn the patterns of a model from data.

    \b
    Examples:
      onnxplain fit models/digits.onnx models/digits/*.png -o patterns.npz
      onnxplain explain models/digits.onnx models/digits/3.png -m pattern_attribution -p patterns=patterns.npz
    """
    from .. import options
    from ..inputs import read
    from ..methods.pattern import PatternAttribution, PatternNet, Patterns
    from ..model import load
    from ..preprocess import Preprocessing

    require_npz(out, "--out")
    require_folder(out, inputs=[model, *inputs])
    loaded = load(model, fuse=not no_fuse)
    (explainer, *others) = options.explainers(loaded, options.methods([method]), param, {"batch_size": batch_size, "providers": options.providers(provider)})
    if others:
        raise InputError("one method learns at a time: fit once for each")
    if explainer.method.learns and not isinstance(explainer.method, (PatternAttribution, PatternNet)):
        raise InputError(f"{method} keeps what it learns to itself: use `onnxplain explain --fit`")
    preprocessing = Preprocessing.for_model(loaded, model, preprocess)
    explainer.fit(read(inputs, loaded, preprocessing).feeds, progress=options.shown(progress))
    patterns = explainer.patterns
    assert isinstance(patterns, Patterns)
    patterns.save(out)
    typer.echo(f"wrote {out} with patterns of {', '.join(patterns)}")
