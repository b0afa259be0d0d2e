"""What the command line's options mean: text to values."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from .errors import InputError, choose
from .explainer import Explainer
from .inputs import load_array
from .methods import METHODS
from .model import Model
from .question import default_score


def methods(given: list[str] | None) -> list[str]:
    given = given or ["integrated_gradients"]
    if bracketed := [text for text in given if "(" in text]:
        raise InputError(f"method {bracketed[0]!r}: parameters are given apart here, as -p KEY=VALUE (brackets are for compare, report and bench)")
    names = [name.strip() for text in given for name in text.split(",") if name.strip()]
    if not names:
        raise InputError("no method was named")
    return list(dict.fromkeys(choose("method", name, METHODS) for name in names))


def explainers(model: Model, names: Sequence[str], given: Sequence[str] | None, bound: dict[str, Any]) -> list[Explainer]:
    """One explainer for each method, with those of the parameters that it has."""
    return [Explainer(model, name, **bound, **params) for name, params in parameters(names, given).items()]


def parameters(names: Sequence[str], given: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """Method → those of the parameters that it has."""
    known = {name: [f.name for f in fields(METHODS[name])] for name in names}
    params: dict[str, dict[str, Any]] = {name: {} for name in names}
    for text in given or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--param {text!r}: wanted KEY=VALUE")
        head, dot, tail = key.partition(".")
        if dot:
            chosen = [choose("method in --param", head, names)]
            choose(f"parameter of {head}", tail, known[head])
        else:
            tail = choose(f"parameter of {', '.join(names)}", key, dict.fromkeys(k for ks in known.values() for k in ks))
            chosen = [name for name in names if key in known[name]]
        for name in chosen:
            params[name][tail] = value_of(value)
    return params


def value_of(text: str) -> Any:
    """JSON, or the array in @file.npy, or the text itself."""
    if text.startswith("@"):
        return load_array(Path(text[1:]))
    try:
        return json.loads(text)
    except ValueError:
        return text


def targets(given: list[str] | None, labels: Any, model: Model | None = None, output: str | None = None) -> Any:
    """Targets as the command line says them; a name counts among as many labels as the model has classes."""
    if not given:
        return None
    targets = [_target(text, labels, model, output) for text in given]
    return targets[0] if len(targets) == 1 else targets


SYNSET = re.compile(r"n\d{8}\s+")
"""WordNet's number, which stands before the name in many lists of ImageNet's classes."""


def _target(text: str, labels: Any, model: Model | None, output: str | None) -> Any:
    """An index, several, or a class's name or an unmistakable part of it."""
    if labels is not None and not (text.strip().isdigit() and (text not in labels or int(text) < len(labels))):
        wanted = text.strip().lower()
        same = [k for k, label in enumerate(labels) if wanted in (label.lower(), *(name.strip() for name in SYNSET.sub("", label.lower()).split(",")))]
        found = same or [k for k, label in enumerate(labels) if wanted in label.lower()]
        if len(found) > 1:
            more = " …" if len(found) > 5 else ""
            raise InputError(f"class {text!r} may be {', '.join(f'{k} ({labels[k]})' for k in found[:5])}{more}: give its number")
        if found:
            _require_all_classes(labels, text, model, output)
            return found[0]
    try:
        indices = [None if part.strip() in ("all", ":") else int(part) for part in text.split(",")]
    except ValueError:
        if labels is None:
            raise InputError(f"target {text!r} is no number, and there are no labels to find a name in (--labels)") from None
        choose("class", text, labels)
        raise
    return indices[0] if len(indices) == 1 and indices[0] is not None else tuple(indices)


def _require_all_classes(labels: Any, text: str, model: Model | None, output: str | None) -> None:
    """Refuse to count among labels that are not the model's."""
    if model is None:
        return
    graph = model.graph(frozenset([output] if output else []))
    shape = graph.types[choose("tensor", output, graph.types) if output else default_score(graph)].shape or ()
    wide = [d for d in shape[1:] if d != 1]
    if len(wide) == 1 and isinstance(wide[0], int) and wide[0] != len(labels):
        raise InputError(f"there are {len(labels)} labels, and the model has {wide[0]} classes: class {text!r} is not certain, give its number")


def numbers(flag: str, text: str | None) -> Any:
    """ "0.5", "1/255" or "0.4,0.5,0.6"."""
    if text is None:
        return None
    try:
        parts = [part.partition("/") for part in text.split(",")]
        numbers = [float(above) / float(below) if slash else float(above) for above, slash, below in parts]
    except (ValueError, ZeroDivisionError):
        raise InputError(f"{flag} {text!r}: wanted a number, a fraction such as 1/255, or several with commas") from None
    return numbers[0] if len(numbers) == 1 else numbers


def size(text: str | None) -> list[int] | None:
    if text is None:
        return None
    parts = text.lower().replace(",", "x").split("x")
    if len(parts) > 2 or not all(p.strip().isdigit() for p in parts):
        raise InputError(f"--size {text!r}: wanted height and width, such as 224x224")
    return [int(p) for p in parts] * (3 - len(parts))


def bound(output: str | None, wrt: list[str] | None, batch_size: int | None, provider: list[str] | None) -> dict[str, Any]:
    """What the options that all commands share say to an Explainer."""
    return {"output": output, "wrt": wrt or None, "batch_size": batch_size, "providers": providers(provider)}


def shown(progress: bool | None) -> bool:
    """Whether progress is shown: on a terminal, where nobody says."""
    return sys.stderr.isatty() if progress is None else progress


def providers(given: list[str] | None) -> list[str] | None:
    if not given:
        return None
    import onnxruntime as ort

    known = {name.removesuffix("ExecutionProvider").lower(): name for name in ort.get_available_providers()}
    return [known[choose("provider", name.lower().removesuffix("executionprovider"), known)] for name in given]
