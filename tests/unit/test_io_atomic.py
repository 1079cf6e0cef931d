from __future__ import annotations

import errno
import hashlib
import os

import pytest

from posepipe.errors import OutputError
from posepipe.io.atomic import atomic_path, output_errors, sha256_of


def test_file_appears_whole(tmp_path):
    target = tmp_path / "a.txt"
    with atomic_path(target) as unfinished:
        assert unfinished.parent == tmp_path
        assert unfinished.suffix == ".txt"
        unfinished.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_failure_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyError), atomic_path(target) as unfinished:  # noqa: PT012 - the block is what is tested
        unfinished.write_text("half")
        raise KeyError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_and_missing_folder_are_output_errors(tmp_path):
    with pytest.raises(OutputError, match=r"a\.txt.*Free some space") as error, output_errors(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert error.value.exit_code == 6
    with pytest.raises(OutputError, match="Name a folder"), atomic_path(tmp_path / "no" / "a.txt") as unfinished:
        unfinished.write_text("x")


def test_what_is_no_file_is_left_as_it_is(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    for there in (tmp_path, pipe):
        with pytest.raises(OutputError, match="is no file"), atomic_path(there) as unfinished:
            unfinished.write_text("x")
    assert pipe.is_fifo()
    link = tmp_path / "link.csv"
    link.symlink_to("/dev/null")
    with pytest.raises(OutputError, match="is no file"), atomic_path(link) as unfinished:
        unfinished.write_text("x")


def test_nothing_written_is_an_error_not_an_empty_file(tmp_path):
    with pytest.raises(OutputError), atomic_path(tmp_path / "a.txt"):
        pass
    assert not list(tmp_path.iterdir())


def test_sha256_is_that_of_hashlib(tmp_path):
    data = bytes(range(256)) * 9000
    (tmp_path / "d").write_bytes(data)
    assert sha256_of(tmp_path / "d") == hashlib.sha256(data).hexdigest()
