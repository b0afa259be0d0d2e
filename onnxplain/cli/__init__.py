"""The command line: `onnxplain inspect | explain | fit | compile | compare | report | evaluate | bench | env`."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

from ..errors import OnnxplainError
from .bench import bench
from .compare import compare
from .compile import compile_
from .evaluate import app as evaluate
from .explain import explain
from .fit import fit
from .inspect import env, inspect
from .report import report

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for command in (inspect, explain, fit, compile_, compare, report, bench, env):
    app.command(name=command.__name__.rstrip("_"))(command)
app.add_typer(evaluate, name="evaluate")


@app.callback(invoke_without_command=True)
def _onnxplain(context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Explain the predictions of any neural network from its ONNX file.

    \b
    Try:  onnxplain inspect model.onnx
          onnxplain explain model.onnx photo.jpg -m gradient,integrated_gradients -o picture.png
    """
    if version:
        from ..facts import version as of

        typer.echo(f"onnxplain {of('onnxplain')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


# ---- errors ----

_ClickException: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; what a user got wrong is one line on stderr and exit status 2."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", DeprecationWarning)  # for those who write libraries, not for users
        warnings.showwarning = lambda message, *rest, **more: _say("warning", message)
        try:
            return (
                typer.main.get_command(app).main(arguments, prog_name="onnxplain", standalone_mode=False, obj=sys.argv[1:] if arguments is None else arguments)
                or 0
            )
        except OnnxplainError as error:
            return _say("error", error)
        except _ClickException as error:
            return _say("error", f"{error.format_message()} (see onnxplain --help)")  # type: ignore[attr-defined]
        except (KeyboardInterrupt, typer.Abort):
            return _say("stopped", "") and 130
        except BrokenPipeError:  # such as `onnxplain inspect … | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except Exception as error:
            if os.environ.get("ONNXPLAIN_DEBUG"):
                raise
            return _say("internal error", f"{type(error).__name__}: {error}; ONNXPLAIN_DEBUG=1 shows where. Please report it.") and 1


def _say(what: str, message: object) -> int:
    """One line on stderr; 2, the exit status of errors."""
    print(f"onnxplain: {what}: {' '.join(str(message).split())}".rstrip(": "), file=sys.stderr)
    return 2
