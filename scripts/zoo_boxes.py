"""Write what `onnxplain evaluate boxes` needs for the zoo's COCO photos: boxes.csv, preprocess.json, labels.txt.

    python scripts/zoo_boxes.py ../shared/zoo FOLDER

Boxes are those of the category that the photo was chosen for; classes are ImageNet's.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path

SQUASHED = {"layout": "NCHW", "color": "RGB", "size": [224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    photos = json.loads((options.zoo / "data" / "coco_boxes.json").read_text())["images"]
    with open(options.folder / "boxes.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "class", "xmin", "ymin", "xmax", "ymax"])
        for photo in photos:
            for left, top, width, height in (i["bbox_xywh"] for i in photo["instances"] if i["is_target"]):
                rows.writerow([Path(photo["file"]).name, photo["imagenet_name"], left, top, left + width, top + height])
    (options.folder / "preprocess.json").write_text(json.dumps(SQUASHED))
    shutil.copy(options.zoo / "labels" / "imagenet_synset.txt", options.folder / "labels.txt")


if __name__ == "__main__":
    main()
