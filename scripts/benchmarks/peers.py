"""Time onnxplain against other libraries, turn by turn in one run: medians, ratios to forward passes, setup and peak memory.

python scripts/benchmarks/peers.py --out peers.jsonl --torch-python PATH [--onnx-ad-python PATH] [--innvestigate-python PATH]      tables
python scripts/benchmarks/peers.py --out peers.jsonl --torch-python PATH --images 512                     the chapter's Fig. 4
python scripts/benchmarks/peers.py --out peers.jsonl --report                                         both into docs/speed.md

The other interpreters have what they are named after: torch, captum, zennit (--no-deps; torchvision is not needed); onnx-ad and onnxruntime;
innvestigate and tensorflow 2.14, which takes part with Keras' VGG16.
Each framework runs in a process of its own, with as many threads as the others. A line of JSON is written for each network, method and
framework; what is in the file already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import networks
import numpy as np
import onnx
from peer_worker import FORWARD, FRAMEWORKS, LRP, OWN, PROVIDERS
from tqdm import tqdm

from onnxplain.bench import bars, in_turns
from onnxplain.plot import save

DOCS = Path(__file__).resolve().parents[2] / "docs"
WORKER = Path(__file__).with_name("peer_worker.py")
RECTIFIED = ["gradient", "guided_backprop", "deconvnet", *LRP, "integrated_gradients", "occlusion", "six methods"]
ANY = ["gradient", "integrated_gradients", "occlusion"]
METHODS = {name: ANY if name.startswith(("vit", "lstm")) else RECTIFIED for name in networks.NETWORKS}
CHAPTER = {"deconvnet": "Deconvnet", "lrp epsilon": "LRP-ε", "lrp preset_a": "LRP-*"}
"""The methods of Alber (2019), Fig. 4, and what they are called there."""
FLOOR = "ONNX Runtime"
SMI = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
Record = dict[str, Any]


class Process:
    """A worker: a framework, started with a Python that has it."""

    def __init__(self, python: str, framework: str, threads: int, device: str) -> None:
        own = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self.command = [python, str(WORKER), framework, "--threads", str(threads), "--device", device]
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=own, text=True)
        self.framework = framework
        self.version = self._answer()["version"]

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.framework}: its process ended; run {shlex.join(self.command)} to see why")
        return json.loads(line)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def machine(threads: int, device: str) -> str:
    """The processor and the device, and what is given to every framework."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    gpu = subprocess.run(SMI, capture_output=True, text=True, check=True).stdout.splitlines()[0] + ", " if device == "cuda" else ""
    return f"{gpu}{name}, {os.cpu_count()} cores, {threads} threads, {platform.system()}, Python {platform.python_version()}"


# ---- measuring ----


def measure(options: argparse.Namespace) -> None:
    """Everything that is asked for and not in the file yet."""
    pythons = {name: python for name in FRAMEWORKS if (python := python_of(name, options))}
    known = {key(r) for r in read(options.out)}
    chosen = list(CHAPTER) if options.images else None
    plan = [(n, m) for n in options.networks for m in chosen or METHODS[n] if not options.method or m in options.method]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as open_ones:
        processes = {name: open_ones.enter_context(Process(python, name, options.threads, options.device)) for name, python in pythons.items()}
        for network, method in (bar := tqdm(plan, unit="row")):
            bar.set_description(f"{network}, {method}")
            if key({"network": network, "method": method, "framework": "onnxplain", **settings(options)}) not in known:
                records = compared(processes, pythons, network, method, Path(folder), options)
                with open(options.out, "a", encoding="utf-8") as out:
                    out.writelines(json.dumps(r) + "\n" for r in records)


def python_of(framework: str, options: argparse.Namespace) -> str | None:
    if framework in ("PyTorch", "captum", "zennit"):
        return options.torch_python
    return {"onnx-ad": options.onnx_ad_python, "iNNvestigate": options.innvestigate_python}.get(framework, sys.executable)


def settings(options: argparse.Namespace) -> Record:
    return {"batch": options.batch, "threads": options.threads, "images": options.images, "device": options.device}


def key(record: Record) -> tuple:
    return *(record[k] for k in ("network", "method", "framework", "batch", "threads", "images")), device_of(record)


def device_of(record: Record) -> str:
    return record.get("device", "cpu")


def file_of(process: Process, network: str, folder: Path) -> str:
    """The network as the framework loads it, written at its first use."""
    if process.framework in ("PyTorch", "captum", "zennit"):
        path = folder / f"{network}.pt"
        if not path.exists():
            process.ask("write", network=network, file=str(path))
    elif process.framework == "iNNvestigate":
        path = folder / network  # Keras makes it
    else:
        path = folder / f"{network}.onnx"
        if not path.exists():
            onnx.save(networks.NETWORKS[network](), path)
    return str(path)


def compared(
    processes: Mapping[str, Process], pythons: Mapping[str, str], network: str, method: str, folder: Path, options: argparse.Namespace
) -> list[Record]:
    """One method of one network by every framework that has it, and the forward passes beside it."""
    shape = [options.batch, *networks.SHAPES[network]]
    files = {name: file_of(p, network, folder) for name, p in processes.items()}
    setups, errors = {}, {}
    for name, p in processes.items():
        answer = p.ask("prepare", file=files[name], shape=shape, method=method, setups=0 if method == "six methods" else options.setups)
        setups |= {name: answer["setup"]} if "setup" in answer else {}
        errors |= {name: answer["error"]} if "error" in answer else {}
    own = {name: OWN.get(name, FLOOR) for name in setups}
    forward = {name: processes[name] for name in dict.fromkeys([FLOOR, *own.values()])}
    for name, p in forward.items():
        p.ask("prepare", file=files[name], shape=shape, method=FORWARD)
    todo = {(name, FORWARD): p for name, p in forward.items()} | {(name, method): processes[name] for name in setups}
    rounds = -(-options.images // options.batch) if options.images else options.repeats
    found = in_turns({k: lambda p=p, m=k[1]: p.ask("run", method=m)["seconds"] for k, p in todo.items()}, rounds, tqdm(disable=True))
    for (_, m), p in todo.items():
        p.ask("forget", method=m)
    records = []
    for name in (*setups, *errors):
        record = {"network": network, "method": method, "framework": name, **settings(options), "date": f"{date.today()}"}
        record |= {"machine": machine(options.threads, options.device), "version": processes[name].version, "forward": OWN.get(name, FLOOR)}
        if name in errors:
            records.append(record | {"error": errors[name]})
            continue
        record |= {"setup": setups[name], "runs": found[name, method], "own_forward": found[own[name], FORWARD], "floor": found[FLOOR, FORWARD]}
        host = not options.images and options.device == "cpu"  # a device's memory is not the process's
        memory = peak(pythons[name], name, files[name], shape, method, options.threads) if host else None
        records.append(record | {"memory": memory})
    return records


def peak(python: str, framework: str, file: str, shape: Sequence[int], method: str, threads: int) -> int | None:
    """Bytes by which loading and explaining raise the peak of a fresh process."""
    with Process(python, framework, threads, "cpu") as process:
        process.ask("prepare", file=file, shape=list(shape), method=method)
        return process.ask("peak")["bytes"]


# ---- the report ----


def read(path: Path) -> list[Record]:
    """The lines of the file, the last of each kind."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return list({key(r): r for r in map(json.loads, lines)}.values())


def report(records: Iterable[Record]) -> None:
    """The tables and pictures into the page."""
    records = list(records)
    plain, chapter = [r for r in records if not r["images"]], [r for r in records if r["images"] and "runs" in r]
    timed, cuda = ([r for r in plain if device_of(r) == d] for d in PROVIDERS)
    parts = []
    if timed:
        parts.append(f"## Beside other libraries\n\n{described(timed)}")
        parts += by_network(timed)
        first = timed[0]["network"]
        blocks: dict[str, dict[str, float]] = {}
        for r in timed:
            if r["network"] == first and "runs" in r:
                blocks.setdefault(r["method"], {})[r["framework"]] = float(np.median(r["runs"]))
        save(bars(blocks), DOCS / "speed.png")
        parts.append(f"![Seconds for a batch by {first}](speed.png)\n\nSeconds for a batch by {first}, on a logarithmic scale.")
    if chapter:
        parts.append(protocol(chapter))
    if cuda:
        said = "No framework rounds to TF32; the batch comes from the host and what is found goes back there."
        parts.append(f"## Beside other libraries, on a GPU\n\n{described(cuda)} {said}")
        parts += by_network(cuda, ", GPU")
    page, start, end = DOCS / "speed.md", "<!-- measured: peers -->\n", "<!-- end: peers -->"
    before, rest = page.read_text(encoding="utf-8").split(start)
    page.write_text(before + start + "\n".join(f"{p}\n" for p in parts) + end + rest.split(end, 1)[1], encoding="utf-8")
    print(f"wrote {page}")


def described(records: Sequence[Record]) -> str:
    versions = {r["framework"]: r["version"] for r in records if "," not in r["framework"]}
    machines = " / ".join(dict.fromkeys(r["machine"] for r in records))
    rounds = " / ".join(dict.fromkeys(str(len(r["runs"])) for r in records if "runs" in r))
    listed = ", ".join(f"{name} {v}" for name, v in versions.items())
    return f"{machines}. {listed}. Batches of {records[0]['batch']}, medians of {rounds} rounds, {max(r['date'] for r in records)}."


def by_network(records: Sequence[Record], where: str = "") -> Iterator[str]:
    """A heading and the tables of each network."""
    for network in dict.fromkeys(r["network"] for r in records):
        yield f"### {network}{where}"
        yield from tables([r for r in records if r["network"] == network])


def tables(records: Sequence[Record]) -> list[str]:
    """A network's: ratios, and for each framework setup and peak memory."""
    median = lambda a, b: float(np.median(np.divide(a, b)))
    ratio = lambda r: f"{median(r['runs'], r['floor']):.2f} ({median(r['runs'], r['own_forward']):.2f})" if "runs" in r else "fails"
    setup = lambda r: f"{np.median(r['setup']):.2f}" if r.get("setup") else ""
    memory = lambda r: f"{r['memory'] / 2**20:.0f}" if r.get("memory") else ""
    errors = [f"- {r['framework']}, {r['method']}: `{r['error']}`" for r in records if "error" in r]
    return [
        matrix("forward passes of ONNX Runtime (of the framework itself)", records, ratio),
        matrix("setup, s", records, setup),
        matrix("peak memory, MiB", records, memory),
        *(["Fails:\n\n" + "\n".join(errors)] if errors else []),
    ]


def matrix(title: str, records: Sequence[Record], cell: Callable[[Record], str]) -> str:
    """Methods × frameworks."""
    cells = {(r["method"], r["framework"]): text for r in records if (text := cell(r))}
    frameworks = [f for f in FRAMEWORKS if any(f == g for _, g in cells)]
    rows = [f"| {m} | {' | '.join(cells.get((m, f), '') for f in frameworks)} |" for m in dict.fromkeys(m for m, _ in cells)]
    return "\n".join([f"| {title} | {' | '.join(frameworks)} |", f"| --- |{' --- |' * len(frameworks)}", *rows])


def protocol(records: Sequence[Record]) -> str:
    """The chapter's figure: setup, and the time for all images by each method, the median batch's times their number."""
    blocks: dict[str, dict[str, float]] = {"setup": {}}
    for framework in dict.fromkeys(r["framework"] for r in records):
        blocks["setup"][framework] = float(np.median([s for r in records if r["framework"] == framework for s in r["setup"]]))
    for r in records:
        blocks.setdefault(CHAPTER[r["method"]], {})[r["framework"]] = float(np.median(r["runs"])) * r["images"] / r["batch"]
    save(bars(blocks), DOCS / "speed-chapter.png")
    names = list(blocks["setup"])
    rows = [f"| {block} | {' | '.join(f'{values[n]:.2f}' if n in values else '' for n in names)} |" for block, values in blocks.items()]
    head = (
        f"## The chapter's benchmark\n\nSetup, and run of {records[0]['images']} images by {records[0]['network']} (Alber 2019, Fig. 4): the median "
        f"batch's time times their number. {described(records)}\n"
    )
    return "\n".join([head, f"| seconds | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}", *rows, "", "![The table as bars](speed-chapter.png)"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"{', '.join(networks.NETWORKS)}; default: all but vit_s16, with --images vgg16")
    parser.add_argument("--out", type=Path, required=True, help="lines of JSON, added to")
    parser.add_argument("--torch-python", metavar="PATH", help="a Python with torch, captum and zennit")
    parser.add_argument("--onnx-ad-python", metavar="PATH", help="a Python with onnx-ad and onnxruntime")
    parser.add_argument("--innvestigate-python", metavar="PATH", help="a Python with innvestigate and tensorflow 2.14")
    parser.add_argument("--method", nargs="+", choices=RECTIFIED, help="only these")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7, help="rounds that count, after one that does not")
    parser.add_argument("--setups", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of every framework")
    parser.add_argument("--device", choices=list(PROVIDERS), default="cpu", help="where every framework runs")
    parser.add_argument("--images", type=int, default=0, help="the chapter's protocol with so many images")
    parser.add_argument("--report", action="store_true", help="write what was measured into docs/speed.md")
    options = parser.parse_args()
    options.networks = options.networks or (["vgg16"] if options.images else [n for n in networks.NETWORKS if n != "vit_s16"])
    if options.report:
        report(read(options.out))
    else:
        measure(options)


if __name__ == "__main__":
    main()
