from pathlib import Path

import pytest

from posepipe.config import Config, cache_root, data_root, load_config
from posepipe.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "c.toml"
    path.write_text(text)
    return path


def test_a_file_sets_and_overrides_win(tmp_path: Path) -> None:
    path = write(tmp_path, "batch = 4\ndetector_score = 1\n")
    config = load_config(path, stride=2)
    assert (config.batch, config.stride, config.detector_score) == (4, 2, 1)
    assert load_config(path, batch=9).batch == 9
    assert load_config() == Config()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("batchh = 4", ["batchh", "Near: batch"]),
        ("limit_frames = 3", ["limit_frames", "Known", "all else is set by flags only"]),
        ("batch = '4'", ["batch", "'4'", "int"]),
        ("batch = true", ["batch", "True", "int"]),
        ("batch = 0", ["batch", "0", "1 to 1024"]),
        ("detector_score = nan", ["detector_score", "finite"]),
        ("track_iou = 1.5", ["track_iou", "0.0 to 1.0"]),
        ("batch = ", ["c.toml", "TOML"]),
        ("x = " + "[" * 3000, ["c.toml"]),
        ("[batch]\na = 1", ["batch", "int"]),
    ],
)
def test_a_bad_file_is_one_clear_error(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, text))
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    for word in ("c.toml", *words):
        assert word in str(error.value)


def test_a_huge_or_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too large"):
        load_config(write(tmp_path, "#" * 2_000_000))
    with pytest.raises(ConfigError, match=r"gone\.toml"):
        load_config(tmp_path / "gone.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"b\.toml"):
        load_config(tmp_path / "b.toml")


def test_folders_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POSEPIPE_DATA", str(tmp_path / "d"))
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "c"))
    assert (data_root(), cache_root()) == (tmp_path / "d", tmp_path / "c")
    monkeypatch.delenv("POSEPIPE_DATA")
    assert data_root() == Path("../shared/data")
