"""Train the small digit classifier of `models/`: a VGG in miniature, on the UCI digits that come with scikit-learn.

    python scripts/train_digits.py

Needs PyTorch (`pip install torch onnxscript`; a CPU is enough, a minute or two), which onnxplain itself never imports. The run is
seeded. It writes, into `models/`:

    digits.onnx     the network: "image" [N, 1, 28, 28] in 0..1 → "logits" [N, 10]; opset 18, weights inside
    digits.json     how an image becomes its input, and the names of the classes; the command line reads it
    digits.results.json  how it was trained, and how many of the held-out images it gets right
    digits/*.png    of each class the held-out image that the network is surest of, 28 × 28, 8-bit gray
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

SEED = 0
EPOCHS = 24
MODELS = Path(__file__).resolve().parent.parent / "models"


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images and classes, for training and held out.

    The 1797 images of 8 × 8 with values 0 to 16 are divided by 16, upsampled to 28 × 28 bilinearly (half-pixel centres, edges
    repeated) and rounded to multiples of 1/255, so that a PNG holds them exactly. A quarter of each class is held out.
    """
    from skimage.transform import resize
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    small, y = load_digits(return_X_y=True)
    large = [resize(s.reshape(8, 8) / 16, (28, 28), order=1, mode="edge", anti_aliasing=False) for s in small]
    x = (np.round(np.stack(large) * 255) / 255).astype(np.float32)[:, None]
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=SEED, stratify=y)
    return x_train, y_train, x_test, y_test


def network():
    from torch import nn

    def block(before: int, after: int) -> list[nn.Module]:
        return [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.Conv2d(after, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]

    head = [nn.Flatten(), nn.Linear(48 * 3 * 3, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10)]
    return nn.Sequential(*block(1, 16), *block(16, 32), *block(32, 48), *head)


def train(x: np.ndarray, y: np.ndarray):
    """Adam with one cycle of the learning rate; each image is shifted by up to two pixels, afresh in each epoch."""
    import torch

    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    model = network().train()
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
    batches = -(-len(x) // 64)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=EPOCHS * batches)
    for epoch in range(EPOCHS):
        total = 0.0
        for rows in np.array_split(random.permutation(len(x)), batches):
            moved = np.stack([padded[r, :, i : i + 28, j : j + 28] for r, (i, j) in zip(rows, random.integers(0, 5, (len(rows), 2)))])
            loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(moved)), torch.from_numpy(y[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        print(f"epoch {epoch + 1:2d} of {EPOCHS}: loss {total / len(x):.4f}", flush=True)
    return model.eval()


def export(model, path: Path) -> None:
    import onnx
    import torch

    example = torch.zeros(2, 1, 28, 28)
    batch = torch.export.Dim("N")
    program = torch.onnx.export(
        model, (example,), input_names=["image"], output_names=["logits"], dynamic_shapes=({0: batch},), opset_version=18, dynamo=True, verbose=False
    )
    proto = program.model_proto
    for thing in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del thing.metadata_props[:]  # names of source files
        thing.ClearField("doc_string")
    proto.ir_version = 10
    proto.graph.name = "digits"
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString())


def main() -> None:
    import torch
    from skimage.io import imsave

    x_train, y_train, x_test, y_test = digits()
    model = train(x_train, y_train)
    with torch.no_grad():
        probability = model(torch.from_numpy(x_test)).softmax(1).numpy()
    right = int((probability.argmax(1) == y_test).sum())
    print(f"{right} of {len(y_test)} held-out images are right: {right / len(y_test):.2%}")

    (MODELS / "digits").mkdir(parents=True, exist_ok=True)
    export(model, MODELS / "digits.onnx")
    preprocessing = {"layout": "NCHW", "color": "gray", "size": [28, 28], "resize": "squash", "scale": 1 / 255, "labels": [str(k) for k in range(10)]}
    (MODELS / "digits.json").write_text(json.dumps(preprocessing, indent=1) + "\n")
    results = {
        "data": "UCI optical recognition of handwritten digits, as sklearn.datasets.load_digits gives it",
        "split": f"a quarter of each class held out, random_state {SEED}",
        "training_images": len(y_train),
        "held_out_images": len(y_test),
        "right": right,
        "accuracy": right / len(y_test),
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": EPOCHS,
        "seed": SEED,
        "torch": torch.__version__.partition("+")[0],
    }
    (MODELS / "digits.results.json").write_text(json.dumps(results, indent=1) + "\n")
    for k in range(10):
        row = int(np.where(y_test == k, probability[:, k], 0).argmax())
        imsave(MODELS / "digits" / f"{k}.png", np.round(x_test[row, 0] * 255).astype(np.uint8), check_contrast=False)


if __name__ == "__main__":
    main()
