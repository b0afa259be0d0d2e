"""Make the pictures of the docs: python scripts/make_gallery.py ZOO [NAME …]

Runs the commands of docs/gallery.md and docs/methods.md that write into docs/gallery/, so that picture and command cannot differ: all
of them, or those of the pictures named. They run in a folder where zoo/ is ZOO. Each picture is shrunk to BYTES. The misread digit of
Figure 5 is written first.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from train_digits import digits

import onnxplain

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("gallery.md", "methods.md")
WIDTH = 1000
BYTES = 150_000


def commands() -> dict[str, list[str]]:
    """The words of each command by the name of its picture."""
    text = "\n".join((ROOT / "docs" / page).read_text(encoding="utf-8") for page in PAGES)
    found = (shlex.split(line) for line in re.findall(r"^onnxplain (.*docs/gallery/.*)$", text, re.M))
    return {Path(words[-1]).stem: words for words in found}


def write_misread() -> None:
    """The held-out digit that the model misreads."""
    _, _, x, y = digits()
    answers = onnxplain.explain(ROOT / "models" / "digits.onnx", x, "gradient").target
    (row,) = np.flatnonzero(answers != y)
    Image.fromarray(np.round(x[row, 0] * 255).astype(np.uint8)).save(ROOT / "docs" / "gallery" / "misread.png")


def shrink(path: Path) -> None:
    """Fewer pixels, and if it must be fewer colours, until the file is at most BYTES."""
    full = Image.open(path).convert("RGB")
    for width in range(min(WIDTH, full.width), 0, -100):
        small = full.resize((width, round(full.height * width / full.width)), Image.Resampling.LANCZOS)
        for picture in (small, small.quantize(256, kmeans=3)):
            picture.save(path, optimize=True)
            if path.stat().st_size <= BYTES:
                return


def main() -> None:
    zoo, names = Path(sys.argv[1]).resolve(), sys.argv[2:]
    write_misread()
    with tempfile.TemporaryDirectory() as folder:
        for name, path in (("models", ROOT / "models"), ("docs", ROOT / "docs"), ("zoo", zoo)):
            (Path(folder) / name).symlink_to(path)
        for name, words in commands().items():
            if names and name not in names:
                continue
            subprocess.run([Path(sys.executable).parent / "onnxplain", *words], cwd=folder, check=True)
            path = ROOT / "docs" / "gallery" / f"{name}.png"
            shrink(path)
            print(f"{name}: {path.stat().st_size // 1000} kB", flush=True)


if __name__ == "__main__":
    main()
