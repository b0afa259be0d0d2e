"""Export both networks from Keras: KERAS_BACKEND=tensorflow python scripts/cross_framework/export_keras.py FOLDER

The backend is TensorFlow, or JAX (KERAS_BACKEND=jax). Needs `pip install keras tensorflow-cpu tf2onnx`, for JAX `pip install keras jax jax2onnx`.
JAX exports the MLP alone: with keras 3.15 and jax2onnx 0.17 a 2-d pooling becomes a MaxPool over four axes, which ONNX Runtime does not run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers


def mlp(weights: dict[str, np.ndarray]) -> keras.Model:
    net = keras.Sequential([keras.Input((784,), name="input"), layers.Dense(64, "relu"), layers.Dense(32, "relu"), layers.Dense(10)])
    net.set_weights([weights[f"{kind}{k}"] for k in range(3) for kind in "wb"])
    return net


def convnet(weights: dict[str, np.ndarray]) -> keras.Model:
    """Keras puts channels last: kernels are [height, width, inputs, outputs], and what Flatten makes has another order."""
    net = keras.Sequential([keras.Input((28, 28, 1), name="input")])
    for filters in (16, 32, 48):
        net.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
        net.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
        net.add(layers.MaxPool2D(2))
    for layer in (layers.Flatten(), layers.Dense(64, "relu"), layers.Dense(10)):
        net.add(layer)
    values = []
    for k in (0, 2, 5, 7, 10, 12):
        values += [weights[f"{k}.weight"].transpose(2, 3, 1, 0), weights[f"{k}.bias"]]
    hidden = weights["16.weight"].reshape(64, 48, 3, 3).transpose(2, 3, 1, 0).reshape(-1, 64)
    net.set_weights([*values, hidden, weights["16.bias"], weights["19.weight"].T, weights["19.bias"]])
    return net


def main() -> None:
    folder = Path(sys.argv[1])
    networks = {"mlp": mlp} if keras.backend.backend() == "jax" else {"mlp": mlp, "convnet": convnet}
    for name, build in networks.items():
        net = build(dict(np.load(folder / f"{name}.npz")))
        net(np.zeros((2, *net.input_shape[1:]), np.float32))  # Keras refuses to export what was never called
        net.export(str(folder / f"{name}-keras-{keras.backend.backend()}.onnx"), format="onnx", verbose=False)


if __name__ == "__main__":
    main()
