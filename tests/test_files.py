"""A file is the old one or the new one, never half of it; what is no JSON object is told in one sentence."""

import errno
import json
import os
from pathlib import Path

import pytest

from simflow.files import NoObject, at_home, cache_folder, made_of, read_json, replacing, write_json


def test_the_folder_of_a_user_that_there_is_not_stays_as_written(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert at_home("~/runs") == Path("/home/me/runs")
    assert at_home("~nobody-of-this-name/runs") == Path("~nobody-of-this-name/runs")


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def interrupted():
        with replacing(path) as part:
            part.write_bytes(b"half")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("number", "named"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_a_full_disk_says_which_file_had_no_room(tmp_path, number, named):
    path = tmp_path / "000123.png"

    def write():
        with replacing(tmp_path / "all.npz"), replacing(path):
            raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        write()
    assert (caught.value.filename == str(path)) is named
    assert not list(tmp_path.iterdir())


def test_two_processes_that_write_one_file_do_not_share_a_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "a"
    with replacing(path, alone=False) as one:
        monkeypatch.setattr("os.getpid", lambda: 7)
        with replacing(path, alone=False) as other:
            one.write_text("one")
            other.write_text("other")
        assert path.read_text() == "other"
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_made_of_a_file_is_of_the_file_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "a"
    file.write_text("x")
    first = made_of(file, "places", 1, ending=".npz")
    assert first == made_of(file, "places", 1, ending=".npz")
    assert (first.parent, first.suffix) == (cache_folder() / "places", ".npz")
    assert first != made_of(file, "places", 2, ending=".npz")
    os.utime(file, ns=(1, 1))
    assert first != made_of(file, "places", 1, ending=".npz")


def test_an_object_is_read_as_it_was_written(tmp_path):
    file, content = tmp_path / "a.json", {"größe": [1, 2.5, None], "b": {"c": "ü"}}
    write_json(file, {"old": 1})
    write_json(file, content)
    assert read_json(file) == content
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_written_leaves_the_old_object(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"old": 1})
    with pytest.raises(TypeError):
        write_json(file, {"new": {1, 2}})
    assert read_json(file) == {"old": 1}
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("content", "kind", "why"),
    [
        (b'{"a": ', json.JSONDecodeError, "Expecting value"),
        (b'{"a": "\xff"}', UnicodeDecodeError, "can't decode byte 0xff"),
        (b"[1]", None, "it holds no JSON object"),
    ],
)
def test_what_is_no_object_is_named(tmp_path, content, kind, why):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.json' is damaged: .*{why}") as caught:
        read_json(file)
    assert type(caught.value) is (NoObject if kind is None else ValueError)
    assert kind is None or isinstance(caught.value.__cause__, kind)


def test_the_cache_is_where_the_user_wants_it(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "me")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "simflow"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == tmp_path / "me" / ".cache" / "simflow"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / "me" / ".cache" / "simflow"
