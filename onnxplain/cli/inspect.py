"""The command line's `onnxplain inspect` and `onnxplain env`."""

from __future__ import annotations

from typing import Annotated

import typer

from .flags import ModelPath, NoFuse, Output, Wrt


def inspect(
    model: ModelPath,
    output: Output = None,
    wrt: Wrt = None,
    no_fuse: NoFuse = False,
    nodes: Annotated[bool, typer.Option("--nodes", help="List every node between the attributed tensors and the score.")] = False,
) -> None:
    """Say what is in a model, and which methods can explain it.

    \b
    Example:  onnxplain inspect models/digits.onnx
    """
    from .. import facts
    from ..model import load

    typer.echo(facts.inspect(load(model, fuse=not no_fuse), output, wrt, nodes))


def env() -> None:
    """Print versions, providers, and what is wrong with them.

    \b
    Example:  onnxplain env
    """
    from .. import facts

    typer.echo(facts.env())
