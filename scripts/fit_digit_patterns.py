"""Learn the patterns that ship beside the small digit classifier: `models/digits-patterns.npz`.

    python scripts/fit_digit_patterns.py

They are those of pattern_net and pattern_attribution in the regime "relu", learned from the images that the network was trained
on (see train_digits.py). A few seconds on a CPU; the same ONNX Runtime writes the same numbers.
"""

from __future__ import annotations

from train_digits import MODELS, digits

import onnxplain


def main() -> None:
    x_train = digits()[0]
    explainer = onnxplain.Explainer(MODELS / "digits.onnx", "pattern_net", providers=["CPUExecutionProvider"]).fit(x_train, progress=True)
    explainer.patterns.save(MODELS / "digits-patterns.npz")
    print(f"{len(explainer.patterns)} patterns from {len(x_train)} images")


if __name__ == "__main__":
    main()
