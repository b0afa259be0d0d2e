"""Rank explanation methods by deletion and insertion, for the table in docs/evaluating.md.

    python scripts/rank_methods.py --zoo ../shared/zoo [--photos 10] [--digits 40] [--store FOLDER] [--docs]

Models: the digit classifier of `models/` with images that it was not trained on, and two ImageNet networks of the zoo with its
photos. The explained class's probability is asked for while blocks of pixels are replaced. With --store a run that was stopped
goes on; with --docs the table is written into the page, else printed.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from train_digits import MODELS, digits

from onnxplain import evaluate
from onnxplain.inputs import read
from onnxplain.model import Model, load
from onnxplain.preprocess import Preprocessing

PAGE = Path(__file__).resolve().parent.parent / "docs" / "evaluating.md"
IMAGENET = {"resize": "crop", "short_side": 256, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
NETWORKS = {"SqueezeNet 1.1": "squeezenet1.1-zoo-fp32.onnx", "MobileNetV2": "mobilenetv2-zoo-fp32.onnx"}


@dataclass(frozen=True)
class Subject:
    """A model, its samples, and how it is asked."""

    title: str
    model: Model
    x: np.ndarray
    region: int
    fill: Any
    window: Any


def subjects(zoo: Path, photos: int, count: int) -> list[Subject]:
    found = [Subject("digits", load(MODELS / "digits.onnx"), digits()[2][:count], 2, 0.0, [1, 6, 6])]
    paths = sorted((zoo / "images" / "imagenet_sample").iterdir())
    for title, name in NETWORKS.items():
        model = load(zoo / "models" / name)
        how = Preprocessing.for_model(model, **IMAGENET)
        x = next(iter(read(paths[:: len(paths) // photos][:photos], model, how).feeds.values()))
        found.append(Subject(title, model, x, 8, "blur", [3, 32, 32]))
    return found


def methods(window: Any) -> dict[str, Any]:
    plain = ["gradient", "saliency", "input_x_gradient", "integrated_gradients", "guided_backprop", "deconvnet", "lrp", "deep_taylor"]
    plain += ["excitation_backprop", "deeplift", "grad_cam", "layer_cam"]
    drawn = {"smoothgrad": {"method": "smoothgrad", "samples": 20}, "smoothgrad, squared": {"method": "smoothgrad", "samples": 20, "square": True}}
    covered = {"occlusion": {"method": "occlusion", "window": window, "stride": [window[0], *(w // 2 for w in window[1:])]}}
    return {m: m for m in plain} | drawn | covered | {b: b for b in evaluate.BASELINES}


def measured(s: Subject, store: Path | None) -> evaluate.Result:
    params = {"region": s.region, "fill": s.fill, "steps": 28}
    path = store and store / f"{s.title.lower().replace(' ', '-')}.csv"
    metrics = {"deletion_auc": params, "insertion_auc": params}
    # Every method keeps its sessions: small runs keep their memory small.
    return evaluate.compare(s.model, s.x, methods(s.window), metrics, probability=True, store=path, progress=True, batch_size=8)


def table(results: dict[str, evaluate.Result], counts: dict[str, int]) -> str:
    """Methods by their mean rank over the models; for each model deletion, insertion, and the rank by their difference."""
    means = {t: {k: {m: v.value for m, v in r.means(k).items()} for k in r.metrics} for t, r in results.items()}
    gains = {t: {m: v["insertion_auc"][m] - v["deletion_auc"][m] for m in v["deletion_auc"]} for t, v in means.items()}
    ranks = {t: {m: k for k, m in enumerate(sorted(g, key=lambda m: -g[m]), 1)} for t, g in gains.items()}
    names = sorted(next(iter(ranks.values())), key=lambda m: np.mean([r[m] for r in ranks.values()]))
    lines = [f"| method | {' | '.join(f'{t} ({counts[t]} images)' for t in results)} | mean rank |", "| --- |" + " --- |" * (len(results) + 1)]
    for m in names:
        cells = [f"{means[t]['deletion_auc'][m]:.3f} / {means[t]['insertion_auc'][m]:.3f} ({ranks[t][m]})" for t in results]
        lines.append(f"| {m} | {' | '.join(cells)} | {np.mean([r[m] for r in ranks.values()]):.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--digits", type=int, default=40)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--docs", action="store_true")
    options = parser.parse_args()
    studied = subjects(options.zoo, options.photos, options.digits)
    text = table({s.title: measured(s, options.store) for s in studied}, {s.title: len(s.x) for s in studied})
    if not options.docs:
        print(text)
        return
    page = PAGE.read_text()
    start, end = "<!-- generated: ranking -->\n", "\n<!-- end: ranking -->"
    head, tail = page.partition(start)[0], page.partition(end)[2]
    PAGE.write_text(f"{head}{start}{text}{end}{tail}")


if __name__ == "__main__":
    main()
