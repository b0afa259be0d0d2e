"""For a folder of images with boxes: which classes does the network recognise by what is outside of them?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..checks import count_fits, one_of
from ..errors import InputError
from ..inputs import Batch, read
from ..model import load
from ..options import targets
from ..prediction import label
from ..preprocess import Preprocessing
from .annotations import Annotation, found_in, read_annotations
from .comparing import metrics_of
from .metric import METRICS
from .result import Result, rows_of
from .store import SETTINGS, Store, digest
from .study import PIECE, Study

COLUMNS = ("method", "metric", "sample", "class", "target", "value", "area")


class Boxes:
    """A model and a folder of images with boxes.

    Parameters
    ----------
    model, methods, **options
        As for `onnxplain.evaluate.compare`.
    images : path
        The folder of the images.
    annotations : path
        COCO .json; .csv with the columns file, class, xmin, ymin, xmax, ymax; Pascal VOC .xml, or a folder of these. Images without
        boxes are left out. All boxes of one class in an image count together.
    explain : "predicted" or "annotated", default "predicted"
        What is explained: the class that the network sees, or that of the boxes, found in the labels by name or number.
    preprocessing : Preprocessing or dict, optional
        How an image becomes an input; by default from the .json beside the model.
    seed : int, default 0

    Raises
    ------
    InputError
        There are no such files, or they are not of these forms.
    """

    def __init__(
        self,
        model: Any,
        images: str | os.PathLike[str],
        annotations: str | os.PathLike[str],
        methods: Any = "lrp",
        *,
        explain: str = "predicted",
        preprocessing: Preprocessing | Mapping[str, Any] | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        one_of(explain, ("predicted", "annotated"), "explain")
        self.explain = explain
        self.study = Study(load(model), methods, options, seed=seed)
        self.explainers = self.study.explainers
        self.found = found_in(Path(images), read_annotations(annotations))
        if isinstance(preprocessing, Preprocessing):
            self.preprocessing = preprocessing
        else:
            path = Path(model) if isinstance(model, (str, os.PathLike)) else None
            self.preprocessing = Preprocessing.for_model(self.study.model, path, **(preprocessing or {}))

    def evaluate(self, metrics: Any = "box_ratio", *, store: Any = None, progress: bool = False) -> Result:
        """How much of each image's attribution lies in its boxes, class by class (Alber 2019, section 3.4 and table 1).

        Images are read a few at a time.

        Parameters
        ----------
        metrics : str, list or dict, default "box_ratio"
            Metrics of localisation, see `compare`.
        store : path of a .csv or .parquet file, optional
            Rows are written there image by image; a run that was stopped goes on where it was.
        progress : bool, default False

        Returns
        -------
        Result
            A row for each class, the worst first. Its records have the columns "class" and "area", the boxes' share of what the
            network sees; where it sees nothing of them, the value is NaN.
        """
        chosen, study = metrics_of(metrics), self.study
        how = {"explain": self.explain, "preprocessing": self.preprocessing}
        settings = {(m, k): study.settings(m, metric=k, params=p, **how) for m in study.sources for k, p in chosen.items()}
        key = lambda m, k, a: {"method": m, "metric": k, "sample": a.file, "class": a.name}
        seen = cache(lambda a: [sha256(self.found[a].read_bytes()).hexdigest(), a])
        own = cache(lambda m, k, a: digest([settings[m, k], seen(a)]))
        with Store(store, COLUMNS[:4], COLUMNS) as kept, tqdm(desc="boxes", total=len(self.found), unit="image", disable=not progress) as bar:
            lacking = lambda a: [(m, k) for m, k in settings if not kept.has(own(m, k, a), **key(m, k, a))]

            def todo() -> Iterator[Annotation]:
                for a in self.found:
                    if lacking(a):
                        yield a
                    else:
                        bar.update()

            rest = todo()
            while some := list(islice(rest, PIECE)):
                for a, (m, k), row in self._measured(some, chosen):
                    if (m, k) in lacking(a):
                        kept.add([key(m, k, a) | row | {SETTINGS: own(m, k, a)}])
                bar.update(len(some))
            records = [kept.get(**key(m, k, a)) for a in self.found for m, k in settings]
        return Result(records, along="class", worst_first=True)

    def _measured(self, some: Sequence[Annotation], chosen: Mapping[str, Mapping[str, Any]]) -> Any:
        """Annotation, (method, metric), columns: image by image."""
        batch, inside, wanted = self._read(some)
        area = inside.mean((1, 2))
        for piece in self.study.pieces(batch.feeds, wanted):
            own = [some[r] for r in dict.fromkeys(piece.rows)]
            rows = {}
            for m in self.study.sources:
                case = self.study.case(piece, m, np.where(area[:, None, None] > 0, inside, True))
                for k, params in chosen.items():
                    rows[m, k] = rows_of(piece.names, piece.targets, {}, METRICS[k].measure(case, params))
            for i, (a, r) in enumerate(zip(own, piece.rows)):
                for mk, measured in rows.items():
                    value = measured[i]["value"] if area[r] else np.nan
                    yield a, mk, {"target": self._label(measured[i]["target"]), "value": value, "area": float(area[r])}

    def _read(self, some: Sequence[Annotation]) -> tuple[Batch, np.ndarray, list[Any] | None]:
        """The images as a batch, where their boxes are, bool [N, H, W], and the targets."""
        batch = read([self.found[a] for a in some], self.study.model, self.preprocessing)
        inside = np.stack([a.inside(self.found[a], self.preprocessing) for a in some])
        return batch, inside, None if self.explain == "predicted" else [targets([a.name], self.preprocessing.labels) for a in some]

    def _label(self, target: str) -> str:
        classes = self.preprocessing.labels
        return label(int(target), classes, len(classes)) if classes is not None and target.isdigit() and int(target) < len(classes) else target

    def sheet(self, result: Result, count: int = 12) -> Any:
        """A contact sheet: the images with the worst values, each method's map beside it, the boxes outlined.

        Parameters
        ----------
        result : Result
            What `evaluate` returned; its first metric and method decide.
        count : int, default 12
            So many images.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from ..plot import grid

        count_fits(count, "count")
        if not result.records:
            raise InputError("there are no results to draw")
        first = result.records[0]
        sign = -1 if METRICS[first["metric"]].better == "lower" else 1
        own = [r for r in result.records if r["metric"] == first["metric"] and r["method"] == first["method"] and np.isfinite(r["value"])]
        if not own:
            raise InputError(f"there is nothing to draw: no image has a finite {first['metric']} by {first['method']}")
        worst = sorted(own, key=lambda r: sign * r["value"])[:count]
        known = {(a.file, a.name): a for a in self.found}
        some = [known[r["sample"], r["class"]] for r in worst]
        batch, inside, wanted = self._read(some)
        shown = [explainer.explain(batch.feeds, wanted) for explainer in self.explainers.values()]
        names = [f"{r['class']}: {r['value']:.2g}" for r in worst]
        return grid(shown, pictures=batch.pictures, names=names, labels=self.preprocessing.labels, contours=list(inside), layout=self.preprocessing.layout)
