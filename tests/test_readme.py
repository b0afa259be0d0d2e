"""What the README and the guide say works, and their generated tables are fresh."""

from __future__ import annotations

import glob
import importlib.util
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from onnxplain import cli

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {"README.md": README, **{f"docs/{p.name}": p.read_text(encoding="utf-8") for p in sorted((ROOT / "docs").glob("*.md"))}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of what a clone has, to write into."""
    shutil.copytree(ROOT / "models", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if blocks(text, "python")])
def test_python_blocks_run_in_order(page, folder):
    scope: dict = {}
    for code in blocks(PAGES[page], "python"):
        exec(compile(code, page, "exec"), scope)


def test_the_notebook_runs(folder):
    cells = json.loads((ROOT / "docs" / "example.ipynb").read_text(encoding="utf-8"))["cells"]
    scope: dict = {}
    for code in ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"):
        exec(compile(code, "example.ipynb", "exec"), scope)
    assert scope["attribution"].shape == scope["x"].shape


def test_there_are_two_set_up_commands():
    commands = [line for block in blocks(README, "sh") for line in block.splitlines() if "venv" in line]
    assert len(commands) == 2
    assert all(line.startswith("python3 -m venv .venv && .venv/bin/pip install") for line in commands)


def commands():
    """The onnxplain calls of the README's shell blocks."""
    parts = [part.strip() for block in blocks(README, "sh") for line in block.splitlines() for part in line.split("&&")]
    return [part.removeprefix(".venv/bin/") for part in parts if part.removeprefix(".venv/bin/").startswith("onnxplain ")]


@pytest.mark.parametrize("command", commands())
def test_shell_commands_run(command, folder):
    words = [w for word in shlex.split(command)[1:] for w in (sorted(glob.glob(word)) or [word])]
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == 0
    for flag in ("-o", "--save"):
        if flag in words:
            assert (folder / words[words.index(flag) + 1]).stat().st_size > 1000


def test_every_command_is_shown():
    shown = {command.split()[1] for command in commands()}
    assert shown == {c.name or c.callback.__name__ for c in cli.app.registered_commands} | {g.name for g in cli.app.registered_groups}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", PAGES[page]):
        assert ((ROOT / page).parent / target).exists(), target


def test_generated_tables_are_fresh():
    spec = importlib.util.spec_from_file_location("write_docs", ROOT / "scripts" / "write_docs.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert [p.name for p in script.stale()] == [], "run python scripts/write_docs.py"


def test_every_file_of_the_package_is_in_the_readme():
    table = README.split("| file | idea |")[1]
    named = set(re.findall(r"`([\w/]+\.py|\w+/)`", table))
    there = {p.name + "/" * p.is_dir() for p in (ROOT / "onnxplain").iterdir() if not p.name.startswith("_") and p.name != "py.typed"}
    assert named == there
