"""Export the MLP from plain JAX: python scripts/cross_framework/export_jax.py FOLDER

Needs `pip install jax jax2onnx`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jax2onnx
import numpy as np


def main() -> None:
    folder = Path(sys.argv[1])
    weights = {name: jnp.asarray(value) for name, value in np.load(folder / "mlp.npz").items()}

    def mlp(x: jax.Array) -> jax.Array:
        for k in range(2):
            x = jax.nn.relu(x @ weights[f"w{k}"] + weights[f"b{k}"])
        return x @ weights["w2"] + weights["b2"]

    inputs = [jax.ShapeDtypeStruct(("N", 784), jnp.float32)]
    jax2onnx.to_onnx(mlp, inputs=inputs, input_names=["input"], output_names=["logits"], return_mode="file", output_path=str(folder / "mlp-jax.onnx"))


if __name__ == "__main__":
    main()
