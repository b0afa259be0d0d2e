"""Boxes in COCO's, Pascal VOC's and CSV's form, and what lies in them."""

import json

import numpy as np
import pytest
from helpers import draw, parse
from PIL import Image

import onnxplain
from onnxplain import evaluate
from onnxplain.evaluate.annotations import read_annotations
from onnxplain.preprocess import Preprocessing

SIZES = {"a.png": (40, 20), "b.png": (16, 24), "c.png": (30, 30)}
BOXES = {("a.png", "cat"): [(4, 2, 24, 18), (30, 0, 40, 10)], ("b.png", "dog"): [(0, 0, 8, 12)], ("c.png", "cat"): [(10, 10, 20, 30)]}
MODEL = parse("g (float[N,3,8,8] x) => (float[N,2] y) { f = Flatten(x)\n t = Tanh(f)\n y = MatMul(t, w) }", w=draw(192, 2, seed=1))
LABELS = ["cat", "dog"]


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for k, (name, (w, h)) in enumerate(SIZES.items()):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (h, w, 3), dtype=np.uint8)).save(images / name)
    return images


def coco(path):
    names, files = ["cat", "dog"], list(SIZES)
    data = {
        "images": [{"id": 10 + i, "file_name": f, "width": SIZES[f][0], "height": SIZES[f][1]} for i, f in enumerate(files)],
        "categories": [{"id": 5 + i, "name": n} for i, n in enumerate(names)],
        "annotations": [
            {"id": 1, "image_id": 10 + files.index(f), "category_id": 5 + names.index(n), "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]]}
            for (f, n), bs in BOXES.items()
            for b in bs
        ],
    }
    path.write_text(json.dumps(data))
    return path


def voc(path):
    path.mkdir()
    for (file, name), boxes in BOXES.items():
        w, h = SIZES[file]
        items = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{b[0] + 1}</xmin><ymin>{b[1] + 1}</ymin><xmax>{b[2]}</xmax><ymax>{b[3]}</ymax></bndbox></object>"
            for b in boxes
        )
        stem = file.removesuffix(".png")  # ImageNet's annotations name no suffix
        text = f"<annotation><filename>{stem}</filename><size><width>{w}</width><height>{h}</height><depth>3</depth></size>{items}</annotation>"
        (path / f"{stem}.xml").write_text(text)
    return path


def table(path):
    rows = [f"{f},{n},{','.join(map(str, b))}" for (f, n), boxes in BOXES.items() for b in boxes]
    path.write_text("\n".join(["file,class,xmin,ymin,xmax,ymax", *rows]) + "\n")
    return path


@pytest.mark.parametrize("form", [coco, voc, table])
def test_all_forms_say_the_same(form, tmp_path, folder):
    read = read_annotations(form(tmp_path / {coco: "boxes.json", voc: "xml", table: "boxes.csv"}[form]))
    for a, ((file, name), boxes) in zip(read, BOXES.items()):
        assert (a.file.removesuffix(".png"), a.name, list(a.boxes)) == (file.removesuffix(".png"), name, boxes)
        assert a.size == (None if form is table else SIZES[file])


def test_squashed_and_cropped_like_the_image(tmp_path, folder):
    first = read_annotations(table(tmp_path / "boxes.csv"))[0]
    squashed = first.inside(folder / "a.png", Preprocessing(size=[10, 20]))
    expected = np.zeros((10, 20), bool)
    expected[1:9, 2:12] = expected[0:5, 15:20] = True
    np.testing.assert_array_equal(squashed, expected)
    cropped = first.inside(folder / "a.png", Preprocessing(size=[10, 10], resize="crop", short_side=10))
    np.testing.assert_array_equal(cropped, expected[:, 5:15])


def ratios(images, method, explain, labels=LABELS):
    """|a| inside over outside, from nothing but Explanation and PIL."""
    found = []
    for (file, name), boxes in BOXES.items():
        picture = Image.open(images / file).convert("RGB")
        x = np.asarray(picture.resize((8, 8), Image.Resampling.BILINEAR), np.float32).transpose(2, 0, 1)[None] / 255
        mask = np.zeros(picture.size[::-1], np.uint8)
        for left, top, right, bottom in boxes:
            mask[top:bottom, left:right] = 255
        inside = np.asarray(Image.fromarray(mask).resize((8, 8), Image.Resampling.BILINEAR)) > 127
        a = np.abs(onnxplain.explain(MODEL, x, method, target=None if explain == "predicted" else labels.index(name)).attribution[0]).sum(0)
        found.append(a[inside].sum() / a[~inside].sum())
    return found


@pytest.mark.parametrize("explain", ["predicted", "annotated"])
def test_ratios(explain, tmp_path, folder):
    study = evaluate.Boxes(MODEL, folder, table(tmp_path / "boxes.csv"), ["gradient", "lrp"], explain=explain, preprocessing={"labels": LABELS})
    result = study.evaluate()
    for method in ("gradient", "lrp"):
        own = result.where(method=method)
        np.testing.assert_allclose([r["value"] for r in own], ratios(folder, method, explain), rtol=1e-4)
        assert [(r["sample"], r["class"]) for r in own] == list(BOXES)
    if explain == "annotated":
        assert all(r["target"] == r["class"] for r in result)
    assert result.records[0]["area"] == pytest.approx(30 / 64, abs=0.2)


def test_worst_classes_first(tmp_path, folder):
    result = evaluate.Boxes(MODEL, folder, table(tmp_path / "boxes.csv"), "gradient", preprocessing={"labels": LABELS}).evaluate()
    means = {c: np.mean([r["value"] for r in result if r["class"] == c]) for c in LABELS}
    lines = str(result).splitlines()
    assert lines[0].split() == ["class", "gradient"] and [line.split()[0] for line in lines[1:3]] == sorted(means, key=means.get)


def test_a_column_for_each_method(tmp_path, folder):
    study = evaluate.Boxes(MODEL, folder, table(tmp_path / "boxes.csv"), ["gradient", "lrp"], preprocessing={"labels": LABELS})
    lines = str(study.evaluate(["box_ratio", "relevance_mass"])).splitlines()
    assert [line.split()[:3] for line in (lines[0], lines[4])] == [["class", "gradient", "lrp"]] * 2
    assert lines[3].startswith("box_ratio ↑, mean") and lines[7].startswith("relevance_mass ↑, mean")


def test_taken_up_without_reading_again(tmp_path, folder, monkeypatch):
    boxes, store = table(tmp_path / "boxes.csv"), tmp_path / "r.csv"
    study = evaluate.Boxes(MODEL, folder, boxes, "gradient", preprocessing={"labels": LABELS})
    first = study.evaluate(store=store)
    lines = store.read_bytes().splitlines(keepends=True)
    store.write_bytes(b"".join(lines[:2]) + lines[2][:9])
    some = study._read
    monkeypatch.setattr(study, "_read", lambda annotations: some(read.extend(a.file for a in annotations) or annotations))
    read: list[str] = []
    again = study.evaluate(store=store)
    assert again.records == first.records
    assert store.read_bytes() == b"".join(lines)
    assert read == ["b.png", "c.png"]


@pytest.mark.parametrize("change", ["image", "boxes"])
def test_other_data_are_refused(change, tmp_path, folder):
    boxes, store = table(tmp_path / "boxes.csv"), tmp_path / "r.csv"
    run = lambda: evaluate.Boxes(MODEL, folder, boxes, "gradient", preprocessing={"labels": LABELS}).evaluate(store=store)
    run()
    if change == "image":
        Image.new("RGB", SIZES["b.png"]).save(folder / "b.png")
    else:
        boxes.write_text(boxes.read_text().replace("b.png,dog,0,0,8,12", "b.png,dog,0,0,8,9"))
    with pytest.raises(onnxplain.InputError, match=r"holds method gradient, metric box_ratio, sample b\.png, class dog, measured with .* other data"):
        run()


def test_nothing_of_a_box_is_seen(tmp_path, folder):
    path = tmp_path / "boxes.csv"
    path.write_text("file,class,xmin,ymin,xmax,ymax\na.png,cat,0,0,5,20\nc.png,cat,0,0,30,30\n")
    how = {"resize": "crop", "short_side": 8, "labels": LABELS}
    records = evaluate.Boxes(MODEL, folder, path, "gradient", preprocessing=how).evaluate().records
    assert np.isnan(records[0]["value"]) and records[0]["area"] == 0
    assert np.isinf(records[1]["value"]) and records[1]["area"] == 1


def test_contact_sheet(tmp_path, folder):
    study = evaluate.Boxes(MODEL, folder, table(tmp_path / "boxes.csv"), ["gradient", "lrp"], preprocessing={"labels": LABELS})
    result = study.evaluate()
    figure = study.sheet(result, count=2)
    worst = sorted(result.where(method="gradient"), key=lambda r: r["value"])
    titles = " ".join(ax.get_title() for ax in figure.axes)
    assert len(figure.axes) == 6
    assert f"{worst[0]['class']}: {worst[0]['value']:.2g}" in titles
    for count in (0, -1, "a"):
        with pytest.raises(onnxplain.InputError, match="count must be an integer of at least 1"):
            study.sheet(result, count)
    unknown = evaluate.Result([r | {"value": np.nan} for r in result], along="class")
    with pytest.raises(onnxplain.InputError, match="there is nothing to draw: no image has a finite box_ratio by gradient"):
        study.sheet(unknown)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("boxes.csv", "file,class,xmin\na.png,cat,3\n", "lacks the column ymin, xmax, ymax"),
        ("boxes.csv", "file,class,xmin,ymin,xmax,ymax\na.png,cat,3,4,x,5\n", "does not hold boxes as .csv files do"),
        ("boxes.csv", "file,class,xmin,ymin,xmax,ymax\na.png,cat,3,4,5,6\na.png,cat,9,4,5,6\n", r"boxes.csv, box 2, cat in a.png: wanted xmin ≤ xmax"),
        ("boxes.csv", "file,class,xmin,ymin,xmax,ymax\na.png,cat,3,9,5,6\n", r"wanted xmin ≤ xmax and ymin ≤ ymax, got \(3, 9\) to \(5, 6\)"),
        ("boxes.csv", "file,class,xmin,ymin,xmax,ymax\na.png,cat,nan,4,5,6\n", r"boxes.csv, box 1, cat in a.png: .* got \(nan, 4\)"),
        ("boxes.csv", "file,class,xmin,ymin,xmax,ymax\n", "holds no boxes"),
        ("boxes.csv", "file,class,xmin,ymin,xmax,ymax\nz.png,cat,3,4,5,5\n", "1 of the images with boxes are not in"),
        ("boxes.json", "{", "does not hold boxes as .json files do"),
        ("boxes.json", '{"images": []}', "KeyError"),
        ("boxes.xml", "<annotation>", "does not hold boxes as .xml files do"),
        ("boxes.txt", "", "boxes are in COCO's .json"),
    ],
)
def test_refused(name, text, message, tmp_path, folder):
    (tmp_path / name).write_text(text)
    with pytest.raises(onnxplain.InputError, match=message):
        evaluate.Boxes(MODEL, folder, tmp_path / name, "gradient", preprocessing={"labels": LABELS})


def test_boxes_of_another_size_are_refused(tmp_path, folder):
    Image.new("RGB", (99, 20)).save(folder / "a.png")
    with pytest.raises(onnxplain.InputError, match=r"a.png has 99 × 20 pixels, its boxes are for 40 × 20"):
        evaluate.Boxes(MODEL, folder, coco(tmp_path / "b.json"), "gradient", preprocessing={"labels": LABELS}).evaluate()
