"""What a row of a comparison shows: a method with its parameters, and a technique that draws it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, choose
from ..explanation import jsonable
from ..methods import METHODS, Method
from ..options import parameters, value_of

if TYPE_CHECKING:
    from ..plot import Visual


@dataclass(frozen=True, eq=False)
class Row:
    """A method under its name, and the technique (a name or a `Visual`) where one was chosen."""

    method: str
    visual: str | Visual | None = None

    @property
    def label(self) -> str:
        if self.visual is None:
            return self.method
        if isinstance(self.visual, str):
            return f"{words(self.visual)}\nof {self.method}"
        given = {f.name: v for f in fields(self.visual) if (v := getattr(self.visual, f.name)) is not f.default}
        return f"{labelled(self.visual.name, given)}\nof {self.method}"


def rows_of(methods: Sequence[Any] | Mapping[str, Any], visuals: Sequence[Any] | None = None) -> tuple[dict[str, Any], list[Row]]:
    """The methods by name, as `onnxplain.Explainers` takes them, and the rows: each method by its own technique, or by every one."""
    if isinstance(methods, str) or not isinstance(methods, Collection) or not len(methods):
        raise InputError(f"methods must be a list of names or a dict label → method, got {methods!r}")
    named = list(methods.items()) if isinstance(methods, Mapping) else [given if isinstance(given, tuple) else (_label(given), given) for given in methods]
    chosen: dict[str, Any] = {}
    rows = []
    for label, given in named:
        given, own = _parted(given)
        number = 2
        while label in chosen and not _same(chosen[label], given):
            label, number = f"{label.removesuffix(f' {number - 1}')} {number}", number + 1
        chosen[label] = given
        rows += [Row(label, visual) for visual in ([own] if own is not None else visuals or [None])]
    return chosen, rows


def _parted(given: Any) -> tuple[Any, Any]:
    """A method without its technique, and the technique."""
    if not isinstance(given, Mapping):
        return given, None
    return {k: v for k, v in given.items() if k != "visual"}, given.get("visual")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
    return a is b or (isinstance(a, str) and a == b)


def _label(given: Any) -> str:
    if isinstance(given, Mapping):
        return labelled(str(given.get("method", given)), {k: v for k, v in given.items() if k not in ("method", "visual")})
    return words(given.name if isinstance(given, Method) else str(given))


def labelled(name: str, params: Mapping[str, Any]) -> str:
    """A name with the parameters that were given, one a line."""
    return "\n".join([words(name), *(f"{k} = {shown(v)}" for k, v in params.items() if v is not None)])


def shown(value: Any) -> str:
    """A value in a label."""
    value = jsonable(value) if isinstance(value, np.ndarray) else value
    return value if isinstance(value, str) else json.dumps(value, default=jsonable)


def words(name: str) -> str:
    return name.replace("_", " ")


# ---- from text ----

NAMED = re.compile(r"(\w+)(?:\((.*)\))?", re.DOTALL)
VARIED = re.compile(r"(.+)\.(\w+)=(.+)", re.DOTALL)


def methods_of(texts: Sequence[str], given: Sequence[str] | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Labels and methods from "NAME(KEY=VALUE, …):TECHNIQUE(KEY=VALUE, …)" with commas between; with what they have of the parameters given for all."""
    found = []
    for text in (part for t in texts for part in split(t)):
        head, *drawn = split(text, ":")
        if len(drawn) > 1:
            raise InputError(f"method {text!r}: wanted NAME, NAME(KEY=VALUE, …) or either with :TECHNIQUE")
        found.append({**_method(head), **({"visual": visual_of(drawn[0])} if drawn else {})})
    names = list(dict.fromkeys(m["method"] for m in found))
    if not names:
        raise InputError("no method was named")
    known = parameters(names, given)
    return [(_label(m), known[m["method"]] | m) for m in found]


def varied(text: str) -> tuple[dict[str, Any], str, list[Any]]:
    """A method, the parameter that varies, and its values, from "METHOD.KEY=VALUE,VALUE,…"."""
    found = VARIED.fullmatch(text)
    if found is None:
        raise InputError(f"--vary {text!r}: wanted METHOD.KEY=VALUE,VALUE,…")
    method, key, values = found.groups()
    given = _method(method)
    choose(f"parameter of {given['method']}", key, [f.name for f in fields(METHODS[given["method"]])])
    return given, key, [value_of(v) for v in split(values)]


def visual_of(text: str) -> Visual:
    """A technique from "NAME(KEY=VALUE, …)"."""
    from ..plot.visuals import visual

    return visual(*_named(text, "visual"))


def _method(text: str) -> dict[str, Any]:
    name, params = _named(text, "method")
    choose("method", name, METHODS)
    for key in params:
        choose(f"parameter of {name}", key, [f.name for f in fields(METHODS[name])])
    return {"method": name, **params}


def _named(text: str, what: str) -> tuple[str, dict[str, Any]]:
    """A name and the parameters in brackets behind it."""
    found = NAMED.fullmatch(text)
    pairs = [part.partition("=") for part in split(found[2] or "")] if found else []
    if found is None or not all(equals for _, equals, _ in pairs):
        raise InputError(f"{what} {text!r}: wanted NAME or NAME(KEY=VALUE, …)")
    return found[1], {key.strip(): value_of(value.strip()) for key, _, value in pairs}


def split(text: str, separator: str = ",") -> list[str]:
    """The parts between separators that stand outside of brackets and quotes."""
    parts, depth, quoted = [""], 0, False
    for letter in text:
        quoted ^= letter == '"'
        depth += 0 if quoted else (letter in "([{") - (letter in ")]}")
        if letter == separator and not quoted and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]
