"""What can go wrong, by name. Every error that a user can cause is an `OnnxplainError`."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable

LISTED = 40
"""No list of known names is longer."""


class OnnxplainError(Exception):
    """Base class of all errors that onnxplain raises on purpose."""


class InvalidModelError(OnnxplainError):
    """The file or object is not a model that ONNX accepts."""


class UnsupportedModelError(OnnxplainError):
    """The model is valid, but some of its nodes have no rule for what was asked."""


class InputError(OnnxplainError, ValueError):
    """An argument or an input array does not fit: says what was wanted and what came."""


class SessionError(OnnxplainError):
    """ONNX Runtime refused to load or to run a graph."""


def one_line(error: BaseException) -> str:
    """What went wrong below us, in one line that is not endless."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def told(value: object) -> str:
    """A wrong value, in one line that is not endless."""
    return " ".join(repr(value).split())[:80]


def choose(kind: str, name: str, known: Iterable[str]) -> str:
    """`name` if it is known, else an `InputError` with the nearest known names."""
    known = list(known)
    if isinstance(name, Hashable) and name in known:
        return name
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    more = f" … and {len(known) - LISTED} more" if len(known) > LISTED else ""
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(sorted(known)[:LISTED]) or 'none'}{more}"
    raise InputError(f"unknown {kind} {told(name)}: {hint}")
