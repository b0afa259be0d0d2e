"""Time the emission of gradients for deep graphs: it must grow linearly with the number of nodes.

python scripts/benchmarks/emission.py [--nodes 1000 3000 10000]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import onnxplain


def deep(nodes: int):
    """A residual chain of dense layers: MatMul, Add, Relu, Add."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.standard_normal((32, 32), dtype=np.float32) / 8, "w"), numpy_helper.from_array(np.zeros(32, np.float32), "b")]
    graph, x = [], "x"
    for k in range(nodes // 4):
        graph += [
            helper.make_node("MatMul", [x, "w"], [f"m{k}"]),
            helper.make_node("Add", [f"m{k}", "b"], [f"a{k}"]),
            helper.make_node("Relu", [f"a{k}"], [f"r{k}"]),
            helper.make_node("Add", [f"r{k}", x], [f"y{k}"]),
        ]
        x = f"y{k}"
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 32])]
    outputs = [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["N", 32])]
    return helper.make_model(helper.make_graph(graph, "deep", inputs, outputs, weights), opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1000, 3000, 10000])
    print("nodes      load   canonical   emit   emitted nodes")
    for nodes in parser.parse_args().nodes:
        model = deep(nodes)
        marks = [time.perf_counter()]
        loaded = onnxplain.load(model)
        marks.append(time.perf_counter())
        explainer = onnxplain.Explainer(loaded, "gradient")
        marks.append(time.perf_counter())
        emitted = explainer._runner.writer.plain(weighted=False).proto
        marks.append(time.perf_counter())
        print(f"{nodes:6d}  {marks[1] - marks[0]:6.2f} s  {marks[2] - marks[1]:6.2f} s  {marks[3] - marks[2]:6.2f} s  {len(emitted.graph.node)}")


if __name__ == "__main__":
    main()
