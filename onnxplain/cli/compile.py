"""The command line's `onnxplain compile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..files import require_folder
from .flags import ModelPath, NoFuse, Output, Params, Wrt


def compile_(
    model: ModelPath,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The explainer to write, an .onnx file.", show_default=False)],
    method: Annotated[str, typer.Option("--method", "-m", metavar="NAME", help="The method.")] = "integrated_gradients",
    param: Params = None,
    output: Output = None,
    wrt: Wrt = None,
    no_fuse: NoFuse = False,
) -> None:
    """Write an .onnx file that predicts and explains.

    It holds the model and the method, and runs wherever ONNX Runtime runs.

    \b
    Example:  onnxplain compile models/digits.onnx -m integrated_gradients -p steps=20 -o explainer.onnx
    """
    import onnx

    from .. import options
    from ..model import load
    from ..tape import Type

    require_folder(out, inputs=[model])
    if out.suffix != ".onnx":
        raise InputError(f"cannot write {out}: wanted a name that ends in .onnx")
    names = options.methods([method])
    if len(names) != 1:
        raise InputError(f"an explainer holds one method, got {len(names)}: compile once for each")
    (explainer,) = options.explainers(load(model, fuse=not no_fuse), names, param, {"output": output, "wrt": wrt or None})
    explainer.save(out)
    graph = onnx.load(out, load_external_data=False).graph
    typer.echo(f"wrote {out} ({out.stat().st_size:,} bytes)")
    for title, values in {"inputs": graph.input, "outputs": graph.output}.items():
        typer.echo("\n".join([title, *(f"  {v.name}  {Type.of(v.type)}" for v in values)]))
