"""Export the MLP from scikit-learn: python scripts/cross_framework/export_sklearn.py FOLDER

Needs `pip install scikit-learn skl2onnx`, in the version of scikit-learn that wrote mlp.pkl.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType


def main() -> None:
    folder = Path(sys.argv[1])
    with open(folder / "mlp.pkl", "rb") as file:
        mlp = pickle.load(file)
    proto = to_onnx(mlp, initial_types=[("input", FloatTensorType([None, 784]))], options={id(mlp): {"zipmap": False}}, target_opset=18)
    (folder / "mlp-sklearn.onnx").write_bytes(proto.SerializeToString())


if __name__ == "__main__":
    main()
