"""Write the weights that the exporters share: python scripts/cross_framework/train.py FOLDER

mlp.npz      an MLP, 784 → 64 → 32 → 10, which scikit-learn trains on the UCI digits: w0, b0, w1, … with w [inputs, outputs]
convnet.npz  the network of models/digits.onnx: its weights by name, [outputs, inputs, …]
mlp.pkl      the MLP as scikit-learn keeps it
"""

from __future__ import annotations

import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from train_digits import MODELS, digits


def main() -> None:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    x_train, y_train, x_test, y_test = digits()
    mlp = MLPClassifier((64, 32), max_iter=30, random_state=0)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        mlp.fit(x_train.reshape(-1, 784), y_train)
    print(f"the MLP is right on {mlp.score(x_test.reshape(-1, 784), y_test):.1%} of the held-out digits")
    with open(folder / "mlp.pkl", "wb") as file:
        pickle.dump(mlp, file)
    layers = {f"w{k}": w for k, w in enumerate(mlp.coefs_)} | {f"b{k}": b for k, b in enumerate(mlp.intercepts_)}
    np.savez(folder / "mlp.npz", **{name: value.astype(np.float32) for name, value in layers.items()})
    weights = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(MODELS / "digits.onnx").graph.initializer}
    np.savez(folder / "convnet.npz", **{name: value for name, value in weights.items() if name.endswith(("weight", "bias"))})


if __name__ == "__main__":
    main()
