"""What there is to say of a model, and of the machine."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import onnx

from .device import default_providers
from .errors import InputError, OnnxplainError
from .graph import Graph
from .listing import Coverage, check
from .model import Model
from .ops import OPS


def inspect(model: Model, output: str | None, wrt: Sequence[str] | None, nodes: bool) -> str:
    """Inputs, outputs, versions, operators, rewrites, and which methods have every rule."""
    parts = [_facts(model), _tensors("inputs", model.inputs), _tensors("outputs", model.outputs), _operators(model.raw)]
    try:
        coverage = check(model, output=output, wrt=wrt)
    except InputError:
        raise
    except OnnxplainError as error:
        return "\n\n".join([*parts, f"cannot be explained as it is: {error}"])
    graph = model.graph(frozenset([*(wrt or []), *([output] if output else [])]))
    parts.append("rewrites\n" + ("\n".join(f"  {line}" for line in graph.rewrites) or "  none"))
    parts.append(str(coverage) if nodes else _coverage(coverage))
    return "\n\n".join(parts)


def _facts(model: Model) -> str:
    proto = onnx.load(model.origin, load_external_data=False)
    opsets = ", ".join(f"{o.domain or 'ai.onnx'} {o.version}" for o in proto.opset_import)
    producer = f"{proto.producer_name} {proto.producer_version}".strip() or "not said"
    weights = sum(t.size for t in model.raw.constants.values())
    return f"{model.origin}\nopset {opsets}; IR {proto.ir_version}; producer: {producer}; {weights:,} numbers in {len(model.raw.constants)} constants"


def _tensors(title: str, tensors: dict[str, Any]) -> str:
    width = max(map(len, tensors), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {t}" for name, t in tensors.items())])


def _operators(graph: Graph) -> str:
    counts = Counter((f"{n.domain}:{n.op_type}" if n.domain else n.op_type, n.kind or "no entry") for n in graph.nodes)
    width = max((len(op) for op, _ in counts), default=0)
    lines = [f"  {op:<{width}}  {count:>4}  {kind}" for (op, kind), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    return "\n".join([f"operators ({len(graph.nodes)} nodes)", *lines])


def _coverage(coverage: Coverage) -> str:
    """The coverage without its table of nodes."""
    able = [m for m, ok in coverage.methods.items() if ok]
    unable = [m for m, ok in coverage.methods.items() if not ok]
    lines = ["explanation", f"  score     {coverage.output}", f"  for       {', '.join(coverage.wrt)}", f"  through   {len(coverage.nodes)} nodes"]
    lines += [f"  methods   {', '.join(able) or 'none has every rule'}"]
    lines += [f"  lacking   {', '.join(unable)}"] if unable else []
    return "\n".join([*lines, *(f"  missing   {line}" for line in coverage.remedies)])


# ---- the machine ----

RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-qnn", "onnxruntime-silicon", "onnxruntime-training")


def env(paths: bool = True) -> str:
    """Versions, ONNX Runtime's providers, and what is wrong with the installation."""
    import onnxruntime as ort

    runtimes = installed(RUNTIMES)
    rows = {"onnxplain": version("onnxplain"), "python": platform.python_version() + f" ({sys.executable})" * paths, "platform": platform.platform()}
    rows |= {name: version(name) for name in ("numpy", "onnx", "onnx-ir")} | runtimes
    rows |= {"providers": ", ".join(ort.get_available_providers()), "used by default": ", ".join(default_providers())}
    rows |= {name: version(name) for name in ("matplotlib", "scikit-image")} | {"operators": f"{len(OPS)} with an entry"}
    width = max(map(len, rows))
    lines = [f"{name:<{width}}  {value}" for name, value in rows.items()]
    return "\n".join([*lines, *([f"warning: {mixed(runtimes)}"] if mixed(runtimes) else [])])


def installed(names: Sequence[str]) -> dict[str, str]:
    """The distributions that are installed, with their versions."""
    return {name: v for name in names if (v := version(name)) != "not installed"}


def version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def mixed(runtimes: dict[str, str]) -> str:
    """What is wrong where several builds of ONNX Runtime share one folder: the last one installed wins, in parts."""
    if len(runtimes) < 2:
        return ""
    both = " and ".join(f"{name} {v}" for name, v in runtimes.items())
    return f"{both} are installed over each other; providers may be missing. Remedy: pip uninstall -y {' '.join(runtimes)}, then install one of them"
