from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from posepipe import cli
from posepipe.config import data_root

DATA = data_root() / "track"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="MOT15/17 are not there; point POSEPIPE_DATA at the data")

MOT15 = "{frame},{id},{x},20,30,60,1,-1,-1,-1\n"


def tracks(*rows: tuple[int, int, int]) -> str:
    return "".join(MOT15.format(frame=frame, id=track, x=x) for frame, track, x in rows)


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / "gt" / name / "gt").mkdir(parents=True)
        (tmp_path / "gt" / name / "gt" / "gt.txt").write_text(tracks((1, 1, 10), (2, 1, 12), (1, 2, 200), (2, 2, 200)))
    return tmp_path / "gt"


def results(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def rows(text: str) -> dict[str, dict[str, str]]:
    """The printed table by sequence."""
    head, *lines = [line.split() for line in text.splitlines()[1:]]
    return {line[0]: dict(zip(head, line, strict=True)) for line in lines}


def test_scores_of_each_sequence_and_combined(truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    perfect = tracks((1, 5, 10), (2, 5, 12), (1, 6, 200), (2, 6, 200))
    switched = tracks((1, 5, 10), (2, 6, 12))
    out = results(tmp_path / "out", one=perfect, two=switched)
    more = ["--json", str(tmp_path / "a.json"), "--csv", str(tmp_path / "a.csv")]
    assert cli.main(["eval", "track", str(truth), str(out), *more]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("rules: MOT15\n")
    table = rows(printed)
    assert [table["one"][k] for k in ("MOTA", "IDF1", "HOTA", "IDSW", "FP", "FN")] == [
        *("100.00", "100.00", "100.00"),
        *("0", "0", "0"),
    ]
    assert [table["two"][k] for k in ("MOTA", "IDSW", "FP", "FN")] == ["25.00", "1", "0", "2"]
    assert [table["COMBINED"][k] for k in ("MOTA", "IDSW", "FP", "FN")] == ["62.50", "1", "0", "2"]
    written = json.loads((tmp_path / "a.json").read_text())
    assert (written["schema"], written["version"], written["rules"]) == ("posepipe.eval.track", 1, ["MOT15"])
    assert written["combined"]["MOTA"] == pytest.approx(62.5)
    assert written["sequences"]["two"]["IDSW"] == 1
    with (tmp_path / "a.csv").open() as file:
        assert [row["sequence"] for row in csv.DictReader(file)] == ["one", "two", "COMBINED"]


def test_files_and_folders_of_runs_are_found(truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = results(tmp_path / "run")
    (run / "two").mkdir()
    (run / "two" / "tracks.txt").write_text(tracks((1, 5, 10)))
    assert cli.main(["eval", "track", str(truth), str(run)]) == 0
    shown = capsys.readouterr()
    assert set(rows(shown.out)) == {"two"}
    assert "not scored: one" in shown.err
    single = [str(truth / "two"), str(run / "two" / "tracks.txt"), "--rules", "mot17"]
    assert cli.main(["eval", "track", *single]) == 0
    # Without classes nothing is a pedestrian by the rules of MOT17.
    assert rows(capsys.readouterr().out)["two"]["GT"] == "0"


def test_every_file_is_scored_under_a_name_of_its_own(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = results(tmp_path / "run")
    for tracker, x in (("sort", 10), ("posesort", 400)):
        (run / "two" / tracker).mkdir(parents=True)
        (run / "two" / tracker / "tracks.txt").write_text(tracks((1, 5, x), (2, 5, x)))
    assert cli.main(["eval", "track", str(truth), str(run), "--files", "*/tracks.txt"]) == 0
    table = rows(capsys.readouterr().out)
    assert {name: row["FP"] for name, row in table.items()} == {
        "two/posesort/tracks": "2",
        "two/sort/tracks": "0",
        "COMBINED": "2",
    }


def test_two_files_of_one_name_are_refused(truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = results(tmp_path / "run", one=tracks((1, 5, 10)))
    (run / "one").mkdir()
    (run / "one" / "tracks.txt").write_text(tracks((1, 5, 10)))
    (run / "one" / "tracks.csv").write_text(tracks((1, 5, 10)))
    assert cli.main(["eval", "track", str(truth), str(run)]) == 3
    told = capsys.readouterr().err
    assert "two files hold results of one" in told
    assert str(run / "one.txt") in told
    assert str(run / "one" / "tracks.txt") in told
    (run / "one.txt").unlink()
    assert cli.main(["eval", "track", str(truth), str(run), "--files", "tracks.*"]) == 3
    assert "two files hold results of one/tracks" in capsys.readouterr().err


def test_a_sequence_that_is_called_as_anothers_detector_has_its_own_truth(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (truth / "one-DPM").mkdir()
    (truth / "one-DPM" / "gt.txt").write_text(tracks((1, 1, 400)))
    run = results(tmp_path / "run", **{"one": tracks((1, 5, 10)), "one-DPM": tracks((1, 5, 400))})
    assert cli.main(["eval", "track", str(truth), str(run)]) == 0
    table = rows(capsys.readouterr().out)
    assert {name: (row["FP"], row["GT"]) for name, row in table.items() if name != "COMBINED"} == {
        "one": ("0", "4"),
        "one-DPM": ("0", "1"),
    }


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("2,5,nan,20,30,60,1,-1,-1,-1\n", "line 2 is not a row"),
        ("2,5,10,20,-30,60,1,-1,-1,-1\n", "line 2 is not a row"),
        ("2,5,10,20,inf,60,1,-1,-1,-1\n", "line 2 is not a row"),
        ("2;5;10;20;30;60\n", "line 2 is not a row"),
        ("1,5,10,20,30,60,1,-1,-1,-1\n", "line 2: id 5 occurs twice"),
        ("2,-1,10,20,30,60,1,-1,-1,-1\n", "line 2: id -1"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, what: str
) -> None:
    out = results(tmp_path / "out", one=tracks((1, 5, 10)) + line)
    assert cli.main(["eval", "track", str(truth), str(out)]) == 3
    message = capsys.readouterr().err
    assert str(out / "one.txt") in message
    assert what in message


def test_nothing_to_score_says_what_was_expected(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = results(tmp_path / "out", three="")
    assert cli.main(["eval", "track", str(truth), str(empty)]) == 3
    assert "SEQ/tracks.txt" in capsys.readouterr().err
    assert cli.main(["eval", "track", str(empty), str(empty)]) == 3
    assert "no ground truth" in capsys.readouterr().err
    assert cli.main(["eval", "track", str(truth), str(empty / "three.txt")]) == 3
    assert "one file for 2 sequences" in capsys.readouterr().err


@needs_data
def test_the_stored_references(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "track", str(DATA / "mot15"), str(DATA / "tud_cem")]) == 0
    table = rows(capsys.readouterr().out)
    assert [(t["MOTA"], t["IDF1"], t["HOTA"]) for t in (table["TUD-Campus"], table["TUD-Stadtmitte"])] == [
        ("52.65", "55.77", "39.14"),
        ("56.40", "64.46", "39.78"),
    ]


@needs_data
@pytest.mark.slow
def test_the_stored_reference_of_21_files(capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(DATA / "mot17")
    assert cli.main(["eval", "track", folder, folder, "--files", "mpntrack-*.txt"]) == 0
    total = rows(capsys.readouterr().out)["COMBINED"]
    assert [total[k] for k in ("HOTA", "MOTA", "IDF1")] == ["61.90", "64.40", "71.21"]
