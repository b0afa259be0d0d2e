"""Write the generated tables of the docs: python scripts/write_docs.py (--check only says whether they are stale)."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx.defs

import onnxplain
from onnxplain.foreign import FORMULAS
from onnxplain.ops import KINDS, OPS
from onnxplain.optimize import OPTIMIZATIONS

sys.path.insert(0, str(Path(__file__).resolve().parent))
from operator_coverage import facts

DOCS = Path(__file__).resolve().parent.parent / "docs"
NEWEST = 24
"""Operators born later are not listed, so that the table does not depend on the installed onnx."""


def operators() -> list[str]:
    """The operators of ai.onnx, and those of other domains that have an entry."""
    schemas = [s for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""]
    born, last = {}, {}
    for s in schemas:
        born[s.name] = min(born.get(s.name, s.since_version), s.since_version)
        last[s.name] = max(last.get(s.name, s), s, key=lambda s: s.since_version)
    alive = {name for name, version in born.items() if version <= NEWEST and not last[name].deprecated}
    return sorted(alive | {name for name in OPS if ":" in name})


def operator_table() -> str:
    names = operators()
    with_vjp = sum(n in OPS and OPS[n].kind != "zero" for n in names)
    zero = sum(n in OPS and OPS[n].kind == "zero" for n in names)
    expanded = sum(n not in OPS and n in facts() for n in names)
    rest = len(names) - with_vjp - zero - expanded
    rows = [
        f"{len(names)} operators: {with_vjp} with a vector-Jacobian product, {expanded} expanded, {zero} whose derivative is zero wherever it exists, "
        f"{rest} without an entry.",
        "",
        "| operator | kind | VJP | LRP | DeepLIFT | CPU, WASM | CUDA | WebGPU |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*rows, *(f"| {' | '.join(operator_row(n))} |" for n in names)])


def operator_row(name: str) -> list[str]:
    kind = OPS[name].kind if name in OPS else ""
    if name not in facts():
        return [name, "", "zero" if kind == "zero" else "–", *[""] * 5]
    known = facts()[name]
    kernels = ["yes" if not (lacking := known.lacking(p)) else f"without {', '.join(lacking)}" for p in ("CPU", "CUDA", "WebGPU")]
    if not kind:
        return [name, "", "expanded", "by its parts", "by its parts", *kernels]
    rules = [" / ".join(r) or "by its parts" for r in (known.lrp, known.deeplift)]
    return [name, kind, "yes", *rules, *kernels]


def kind_table() -> str:
    return "\n".join(["| kind | what |", "| --- | --- |", *(f"| {kind} | {what} |" for kind, what in KINDS.items())])


def foreign_list() -> str:
    """The operators of other domains that are spelled out; trees are known, but have no derivative."""
    domains: dict[str, list[str]] = {}
    for domain, name in sorted(FORMULAS):
        if not name.startswith("TreeEnsemble"):
            domains.setdefault(domain, []).append(name)
    return "\n".join(f"- `{domain}`: {', '.join(names)}" for domain, names in domains.items())


def optimization_list() -> str:
    return "\n".join(f"- `{name}`: {line}" for name, line in OPTIMIZATIONS.items())


def method_table() -> str:
    return "\n".join(["| method | what |", "| --- | --- |", *(f"| `{name}` | {line} |" for name, line in onnxplain.methods().items())])


def method_pages() -> str:
    """Each method's docstring: what it is, the paper, its parameters."""
    import inspect

    from onnxplain.methods import METHODS

    return "\n\n".join(f"## {name}\n\n```text\n{inspect.cleandoc(METHODS[name].__doc__ or '')}\n```" for name in sorted(METHODS))


PAGES = {
    DOCS / "operators.md": {"kinds": kind_table, "operators": operator_table, "foreign": foreign_list},
    DOCS / "speed.md": {"optimizations": optimization_list},
    DOCS / "methods.md": {"methods": method_table, "parameters": method_pages},
    DOCS.parent / "README.md": {"methods": method_table},
}


def rendered(path: Path, tables: dict) -> str:
    """The page with what stands between its markers made anew."""
    text = path.read_text(encoding="utf-8")
    for name, table in tables.items():
        start, end = f"<!-- generated: {name} -->\n", f"\n<!-- end: {name} -->"
        before, rest = text.split(start)
        text = before + start + table() + end + rest.split(end, 1)[1]
    return text


def stale() -> list[Path]:
    return [path for path, tables in PAGES.items() if rendered(path, tables) != path.read_text(encoding="utf-8")]


def main() -> None:
    for path in stale():
        if "--check" in sys.argv:
            sys.exit(f"{path.name} is stale: run python scripts/write_docs.py")
        path.write_text(rendered(path, PAGES[path]), encoding="utf-8")
        print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
