"""Both evaluators of actions in time, on published results and on cases that follow by hand."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from posepipe import cli
from posepipe.config import data_root
from posepipe.errors import InputError, UsageError
from posepipe.evaluation.localisation import Labelled, activitynet_score, told_apart, told_right, without_duplicates
from posepipe.evaluation.localisation_files import read_predictions, read_truth, same_names
from posepipe.evaluation.localisation_thumos import (
    greedy_nms,
    matlab_number,
    thumos_score,
)
from posepipe.io.exports import write_actions
from posepipe.streams.spans import UNKNOWN
from posepipe.types import Action

DATA = data_root() / "tad"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="THUMOS-14's files are not there; set POSEPIPE_DATA")
SCNN = DATA / "scnn_c3d"

# Shou et al., CVPR 2016, and the mean recall of the same stored run
SCNN_MAP = {0.1: 0.47719, 0.2: 0.43535, 0.3: 0.36276, 0.4: 0.28702, 0.5: 0.18970}
SCNN_RECALL = {0.1: 0.78351, 0.2: 0.76794, 0.3: 0.75128, 0.4: 0.69658, 0.5: 0.64501}


@pytest.fixture(scope="module")
def windows() -> Labelled:
    pytest.importorskip("scipy")
    from thumos_scnn import scored_windows

    return scored_windows(SCNN)


@needs_data
@pytest.mark.parametrize("threshold", SCNN_MAP)
def test_the_challenges_rules_give_the_published_figures(windows: Labelled, threshold: float):
    from thumos_scnn import score_at

    score = score_at(SCNN, windows, threshold)
    assert score.mean[0] == pytest.approx(SCNN_MAP[threshold], abs=5.1e-6)
    assert score.mean_recall[0] == pytest.approx(SCNN_RECALL[threshold], abs=5.1e-6)
    stored = pytest.importorskip("scipy.io").loadmat(SCNN / "eval/res_scnn_thumos14.mat")["AP_all"]
    column = list(SCNN_MAP).index(threshold)
    assert [ap for (ap,) in score.precision.values()] == pytest.approx(stored[0, column].ravel(), abs=1e-12)


@needs_data
def test_activitynets_rules_give_the_reference_figures():
    truth = read_truth(DATA / "thumos14_test_gt.json", "test")
    found = read_predictions(DATA / "scnn_c3d_detections_nms0.4.json")
    assert (len(found), len(without_duplicates(truth)), len(set(truth.video))) == (24244, 3311, 210)
    score = activitynet_score(truth, found, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    some = found.score[found.label == "Diving"]
    usual = zlib.crc32(np.argsort(some).astype("<i8").tobytes()) == 0x9EA236D6
    within = 5.1e-4 if usual else 0.5  # per cent; equal scores are sorted in another way on some processors
    expected = [43.803, 41.141, 37.126, 30.975, 21.708, 11.939, 4.043]
    assert [100 * value for value in score.mean] == pytest.approx(expected, abs=within)
    assert 100 * score.average == pytest.approx(27.248, abs=within)


def _plain(truth: list[tuple[str, float, float]], found: list[tuple[str, float, float, float]], least: float) -> float:
    """Average precision of one class written down as slowly and plainly as can be."""

    def overlap(a: float, b: float, c: float, d: float) -> float:
        shared = max(0.0, min(b, d) - max(a, c))
        return shared / (b - a + d - c - shared)

    free, hits = set(range(len(truth))), []
    for video, start, end, _ in sorted(found, key=lambda row: -row[3]):
        fitting = [
            (overlap(start, end, *truth[n][1:]), -n)
            for n in free
            if truth[n][0] == video and overlap(start, end, *truth[n][1:]) >= least
        ]
        hits.append(bool(fitting))
        free -= {-max(fitting)[1]} if fitting else set()
    area, recall = 0.0, 0.0
    for n, hit in enumerate(hits):
        if hit:
            best = max(sum(hits[: m + 1]) / (m + 1) for m in range(n, len(hits)))
            area, recall = area + best / len(truth), recall + 1 / len(truth)
    return area


def test_activitynets_rules_equal_the_plain_definition():
    rng = np.random.default_rng(3)
    for _ in range(20):
        truth = [(f"v{rng.integers(3)}", s := rng.uniform(0, 40), s + rng.uniform(2, 9)) for _ in range(9)]
        found = [(v, a + rng.normal(0, 1.5), b + rng.normal(0, 0.9) + 1.6, rng.uniform()) for v, a, b in truth * 3]
        found = [(v, min(a, b - 0.1), b, s) for v, a, b, s in found]
        score = activitynet_score(
            Labelled.of([(v, "x", a, b, 1.0) for v, a, b in truth]),
            Labelled.of([(v, "x", a, b, s) for v, a, b, s in found]),
            [0.3, 0.6],
        )
        assert score.mean == pytest.approx([_plain(truth, found, 0.3), _plain(truth, found, 0.6)])


@needs_data
def test_the_toy_pair():
    truth, found = read_truth(DATA / "toy/gt.json"), read_predictions(DATA / "toy/result.json")
    truth = same_names(truth, found)
    score = activitynet_score(truth, found, [0.3, 0.5, 0.7])
    for label in score.precision:
        own = [(v, *s) for v, name, s in zip(truth.video, truth.label, truth.spans, strict=True) if name == label]
        rows = zip(found.video, found.label, found.spans, found.score, strict=True)
        guess = [(v, *s, p) for v, name, s, p in rows if name == label]
        assert score.precision[label] == pytest.approx([_plain(own, guess, least) for least in (0.3, 0.5, 0.7)])
    assert score.mean == pytest.approx([0.95833, 0.71429, 0.6875], abs=5.1e-6)


def test_what_is_told_and_how_much_of_it_is_right():
    found = Labelled.of(
        [
            ("a", "x", 0, 10, 0.9),
            ("a", "y", 1, 9, 0.8),
            ("a", "y", 20, 30, 0.6),
            ("a", "x", 40, 50, 0.1),
            ("b", "x", 0, 9, 0.5),
        ]
    )
    told = told_apart(found, 0.3)
    assert [(v, n, s.tolist()) for v, n, s in zip(told.video, told.label, told.spans, strict=True)] == [
        ("a", "x", [0, 10]),
        ("a", "y", [20, 30]),
        ("b", "x", [0, 9]),
    ]
    truth = Labelled.of([("a", "x", 1, 10, 1), ("a", "x", 20, 30, 1), ("b", "x", 0, 10, 1), ("b", "x", 0, 9.5, 1)])
    assert told_right(truth, told, 0.5) == (2 / 3, 0.5)
    assert told_right(truth, told, 0.92) == (1 / 3, 0.25)
    assert told_right(truth, found[:0], 0.5) == (0.0, 0.0)
    assert len(told_apart(found[:0], 0.5)) == 0


def test_what_touches_an_ambiguous_stretch_does_not_count_in_the_challenge():
    truth = Labelled.of([("a", "x", 0, 10, 1), ("a", "Ambiguous", 20, 30, 1)])
    found = Labelled.of([("a", "x", 25, 40, 0.9), ("a", "x", 50, 60, 0.8), ("a", "x", 0, 9, 0.7)])
    assert thumos_score(truth, found, [0.5]).mean == (0.5,)
    assert activitynet_score(truth, found, [0.5]).mean == pytest.approx((1 / 3,))


def test_ground_truth_is_taken_in_file_order_in_the_challenge_and_once():
    truth = Labelled.of([("a", "x", 0, 10, 1), ("a", "x", 1, 11, 1)])
    found = Labelled.of([("a", "x", 0.4, 10.4, 0.9), ("a", "x", 0.5, 10.5, 0.8), ("a", "x", 0.6, 10.6, 0.7)])
    score = thumos_score(truth, found, [0.5])
    assert score.mean == pytest.approx(((1 + 2 / 3) / 2,))  # the second takes the third, which it overlaps more
    assert score.mean_recall == (1.0,)
    assert thumos_score(truth, found[:1], [0.5]).mean == (0.5,)


def test_suppression_keeps_what_overlaps_as_much_as_is_allowed_and_the_later_of_equals():
    spans = np.array([(0.0, 10.0), (5.0, 15.0), (0.0, 10.0)])
    assert greedy_nms(spans, np.array([0.5, 0.4, 0.5]), 1 / 3).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("value", "printed"), [(0.123456, 0.12346), (12.3456789, 12.3457), (0.00123456789, 0.0012346), (0.0, 0.0)]
)
def test_numbers_as_matlab_prints_them(value: float, printed: float):
    assert matlab_number(value) == printed


def _pair(folder: Path) -> tuple[Path, Path]:
    truth = {"database": {"a": {"subset": "test", "annotations": [{"segment": [0, 10], "label": "x"}]}}}
    found = {"results": {"a": [{"segment": [0, 9], "label": "x", "score": 0.9}]}}
    (folder / "gt.json").write_text(json.dumps(truth))
    (folder / "out.json").write_text(json.dumps(found))
    return folder / "gt.json", folder / "out.json"


def test_the_command_prints_a_row_a_class_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    truth, found = _pair(tmp_path)
    flags = ["--tiou", "0.5,0.95", "--classes", "--json", str(tmp_path / "s.json")]
    assert cli.main(["eval", "tad", str(truth), str(found), *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "rules: activitynet; 1 videos, 1 classes"
    assert [line.split() for line in lines[1:]] == [
        ["tIoU", "0.5", "0.95", "average"],
        ["x", "100.00", "0.00", "50.00"],
        ["mAP", "100.00", "0.00", "50.00"],
    ]
    assert json.loads((tmp_path / "s.json").read_text())["average"] == 0.5


def test_the_command_reads_the_csv_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    truth, _ = _pair(tmp_path)
    out = tmp_path / "actions.csv"
    out.write_text("video,person,label,start_s,end_s,score\na,1,x,0.000,9.500,0.7\na,1,y,2,3,0.2\n")
    assert cli.main(["eval", "tad", str(truth), str(out), "--rules", "thumos", "--tiou", "0.5"]) == 0
    printed = capsys.readouterr()
    assert "mAP   100.00  100.00" in printed.out
    assert "labels that the ground truth lacks, so not scored: y" in printed.err


def test_the_command_reads_the_folder_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """What the network does not know is no prediction, and a run names files where ground truth names videos."""
    truth = {
        "a": {"annotations": [{"segment": [0, 10], "label": "x"}]},
        "v_b.mov": {"annotations": [{"segment": [0, 10], "label": "x"}]},
    }
    (tmp_path / "gt.json").write_text(json.dumps(truth), "utf-8-sig")
    said = [
        Action(1, "x", 0, np.array([0.8, 0.2]), 0, 250, 0.0, 10.0),
        Action(1, UNKNOWN, -1, np.zeros(2), 250, 300, 10.0, 12.0),
    ]
    for name, suffix in (("a", ".mp4"), ("b", "")):
        (tmp_path / "out" / name).mkdir(parents=True)
        write_actions(tmp_path / "out" / name / "actions.csv", name + suffix, said)
    for results in ("out", "out/a", "out/a/actions.csv"):
        assert cli.main(["eval", "tad", str(tmp_path / "gt.json"), str(tmp_path / results), "--tiou", "0.9"]) == 0
        printed = capsys.readouterr()
        assert ("100.00" if results == "out" else "50.00") in printed.out
        assert ("nothing was found in 1 of 2" in printed.err) == (results != "out")
        assert "unknown" not in printed.err
    write_actions(tmp_path / "out/b/actions.csv", "a.mp4", said)
    assert cli.main(["eval", "tad", str(tmp_path / "gt.json"), str(tmp_path / "out")]) == 3
    assert "are of videos of one name; got a.mp4" in capsys.readouterr().err
    assert cli.main(["eval", "tad", str(tmp_path / "gt.json"), str(tmp_path)]) == 3
    assert "holds no actions.csv" in capsys.readouterr().err


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "latin-1"])
def test_tables_that_other_programs_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str], coding: str):
    truth, _ = _pair(tmp_path)
    out = tmp_path / "actions.csv"
    out.write_bytes(
        "video,person,label,start_s,end_s,score\r\na,1,x,0,9.5,0.7\r\na,1,\xe9t\xe9,2,3,0.2\r\n".encode(coding)
    )
    code = cli.main(["eval", "tad", str(truth), str(out), "--tiou", "0.5"])
    printed = capsys.readouterr()
    if coding == "latin-1":
        assert code == 3
        assert "is not text in UTF-8" in printed.err
    else:
        assert code == 0
        assert "mAP   100.00  100.00" in printed.out


@pytest.mark.parametrize(
    ("truth", "found", "named"),
    [
        (["a"], ["a.mp4"], ["a.mp4"]),
        (["v_a", "b"], ["a", "b"], ["a", "b"]),
        (["a.mp4"], ["a"], ["a"]),
        (["cam.1"], ["cam.2"], ["cam.1"]),  # no suffixes
        (["a"], ["a.mp4", "a.avi"], ["a"]),  # which of them?
        (["a.mp4", "a.avi"], ["a"], ["a.mp4", "a.avi"]),
        (["a", "a.mp4"], ["a.mp4", "a"], ["a", "a.mp4"]),
    ],
)
def test_names_are_matched_one_to_one(truth: list[str], found: list[str], named: list[str]):
    rows = [Labelled.of([(name, "x", 0, 1, 1) for name in names]) for names in (truth, found)]
    assert same_names(*rows).video.tolist() == named


def test_videos_without_any_result_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    truth, found = _pair(tmp_path)
    told = json.loads(truth.read_text())
    told["database"]["b"] = {"subset": "train", "annotations": [{"segment": [0, 10], "label": "x"}]}
    truth.write_text(json.dumps(told))
    assert cli.main(["eval", "tad", str(truth), str(found), "--tiou", "0.5"]) == 0
    printed = capsys.readouterr()
    assert "mAP   50.00  50.00" in printed.out
    assert "nothing was found in 1 of 2 videos" in printed.err
    assert "--subset" in printed.err
    assert cli.main(["eval", "tad", str(truth), str(found), "--tiou", "0.5", "--subset", "test"]) == 0
    printed = capsys.readouterr()
    assert "mAP   100.00  100.00" in printed.out
    assert printed.err == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "is not a table of videos"),
        ("{", "is not valid JSON"),
        ('{"a": {"duration": 3}}', "a has no annotations"),
        ('{"a": {"annotations": [{"segment": [1], "label": "x"}]}}', "an action of a is not (start, end, score)"),
        ('{"a": {"annotations": [{"segment": [1, NaN], "label": "x"}]}}', "no finite times"),
    ],
)
def test_bad_ground_truth_is_named(tmp_path: Path, text: str, told: str):
    (tmp_path / "gt.json").write_text(text)
    with pytest.raises(InputError, match=told.replace("(", r"\(").replace(")", r"\)")):
        read_truth(tmp_path / "gt.json")


def test_files_that_do_not_fit_together_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    truth, found = _pair(tmp_path)
    with pytest.raises(UsageError, match="no annotated actions in the subset 'train'"):
        read_truth(truth, "train")
    found.write_text(found.read_text().replace('"a"', '"b"'))
    assert cli.main(["eval", "tad", str(truth), str(found)]) == 2
    assert "no video in common" in capsys.readouterr().err
    assert cli.main(["eval", "tad", str(truth), str(found), "--tiou", "0"]) == 2
    assert cli.main(["eval", "tad", str(truth), str(tmp_path / "none.csv")]) == 3
