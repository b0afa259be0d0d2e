"""Fixtures that several files of tests share."""

from __future__ import annotations

import os

import pytest

from onnxplain import cli

os.environ.setdefault("ONNXPLAIN_THREADS", "1")  # the models are small, and pytest-xdist has a process for each core


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the command line in an empty folder: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return stopped.value.code, out, err

    return call
