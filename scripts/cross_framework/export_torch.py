"""Export both networks with both of PyTorch's exporters: python scripts/cross_framework/export_torch.py FOLDER

Needs `pip install torch onnx onnxscript`.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from train_digits import network


def mlp(weights: dict[str, np.ndarray]) -> nn.Module:
    net = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    for k, layer in enumerate(net[::2]):
        layer.load_state_dict({"weight": torch.tensor(weights[f"w{k}"].T), "bias": torch.tensor(weights[f"b{k}"])})
    return net


def convnet(weights: dict[str, np.ndarray]) -> nn.Module:
    net = network()
    net.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    return net


def main() -> None:
    folder = Path(sys.argv[1])
    for name, build, shape in (("mlp", mlp, (784,)), ("convnet", convnet, (1, 28, 28))):
        net = build(dict(np.load(folder / f"{name}.npz"))).eval()
        example = (torch.zeros(2, *shape),)
        names = {"input_names": ["input"], "output_names": ["logits"], "opset_version": 18}
        torch.onnx.export(net, example, folder / f"{name}-torch-dynamo.onnx", dynamo=True, dynamic_shapes=({0: torch.export.Dim("N")},), verbose=False, **names)
        with warnings.catch_warnings(action="ignore"):  # this exporter is to be removed some day
            torch.onnx.export(net, example, str(folder / f"{name}-torch-script.onnx"), dynamo=False, dynamic_axes={"input": {0: "N"}}, **names)


if __name__ == "__main__":
    main()
