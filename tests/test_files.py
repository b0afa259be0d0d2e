"""A file appears whole or not at all."""

import os
import stat

import pytest

from onnxplain import InputError
from onnxplain.files import replacing


def test_a_file_is_written_and_replaced(tmp_path):
    for text in ("one", "two"):
        with replacing(tmp_path / "f.txt") as path:
            assert path.parent == tmp_path
            assert path.suffix == ".txt"
            path.write_text(text)
        assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"f.txt": text}


def test_what_fails_leaves_nothing_and_spoils_nothing(tmp_path):
    (tmp_path / "f.txt").write_text("old")

    def fail() -> None:
        with replacing(tmp_path / "f.txt") as path:
            path.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"f.txt": "old"}


@pytest.mark.skipif(os.name != "posix", reason="other systems have no umask")
def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "f.txt") as path:
        path.touch()
    assert stat.S_IMODE((tmp_path / "f.txt").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_folders(tmp_path):
    with pytest.raises(InputError, match=r"no such folder .*no$"), replacing(tmp_path / "no" / "f.txt"):
        pass
    with pytest.raises(InputError, match=r"it is a folder$"), replacing(tmp_path):
        pass
    tmp_path.chmod(0o500)
    if not os.access(tmp_path, os.W_OK):
        with pytest.raises(InputError, match="Permission denied"), replacing(tmp_path / "f.txt"):
            pass
