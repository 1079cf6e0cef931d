from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from posepipe.errors import InputError
from posepipe.evaluation.mot import MotScore, score_sequence
from posepipe.evaluation.mot_files import Benchmark, MotRows, guess_benchmark, read_mot


def rows(*table: tuple[float, ...], category: int = 1) -> MotRows:
    """Rows (frame, id, left): boxes 10 px wide and 20 high."""
    frame, track_id, left = np.array(table, float).reshape(-1, 3).T
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 20], -1)
    ones = np.ones(len(frame))
    return MotRows(frame.astype(np.int64), track_id.astype(np.int64), boxes, ones, np.full(len(frame), category))


TWO_PEOPLE = rows(*((t, i, 100.0 * i + t) for t in range(1, 11) for i in (1, 2)))


def test_perfect_results_score_one() -> None:
    s = score_sequence(TWO_PEOPLE, TWO_PEOPLE)
    assert (s.mota, s.motp, s.idf1, s.hota, s.deta, s.assa, s.recall, s.precision) == pytest.approx((1.0,) * 8)
    assert (s.truth, s.people, s.fp, s.fn, s.switches) == (20, 2, 0, 0, 0)


def test_no_results_and_no_truth() -> None:
    nothing = rows()
    missed, false = score_sequence(TWO_PEOPLE, nothing), score_sequence(nothing, TWO_PEOPLE)
    assert (missed.fn, missed.fp, missed.mota, missed.hota, missed.idf1) == (20, 0, 0.0, 0.0, 0.0)
    assert (false.fn, false.fp, false.hota, false.idf1) == (0, 20, 0.0, 0.0)
    assert score_sequence(nothing, nothing).truth == 0


def test_one_switch_in_the_middle_worked_out_by_hand() -> None:
    truth = rows(*((t, 1, 100.0) for t in range(1, 11)))
    s = score_sequence(truth, rows(*((t, 1 if t <= 5 else 2, 100.0) for t in range(1, 11))))
    assert (s.switches, s.mota, s.idf1) == (1, pytest.approx(0.9), pytest.approx(0.5))
    # Each half of the track shares 5 of the 10 + 5 - 5 rows of either identity.
    assert (s.deta, s.assa, s.hota) == pytest.approx((1.0, 0.5, np.sqrt(0.5)))


def test_a_match_goes_on_although_another_box_fits_better() -> None:
    truth = rows((1, 1, 100.0), (2, 1, 100.0))
    s = score_sequence(truth, rows((1, 7, 100.0), (2, 7, 102.0), (2, 8, 100.0)))
    assert (s.switches, s.fp) == (0, 1)


def test_ids_may_be_renamed_and_sequences_added_up() -> None:
    results = rows(*((t, 1 + t % 2, 101.0) for t in range(1, 11)), *((t, 9, 202.0) for t in range(1, 9)))
    renamed = MotRows(results.frame, 1000 - results.track_id, results.boxes, results.flag, results.category)
    one, other = score_sequence(TWO_PEOPLE, results), score_sequence(TWO_PEOPLE, renamed)
    assert one.hota == pytest.approx(other.hota)
    assert one.switches == other.switches
    both = sum((one, other), MotScore())
    assert both.truth == 2 * one.truth
    assert (both.hota, both.mota, both.idf1) == pytest.approx((one.hota, one.mota, one.idf1))


@pytest.mark.parametrize(
    ("category", "benchmark", "fp"),
    [(1, "MOT17", 0), (7, "MOT17", 0), (6, "MOT17", 10), (6, "MOT20", 0), (3, "MOT17", 10)],
)
def test_results_on_distractors_do_not_count(category: int, benchmark: Benchmark, fp: int) -> None:
    stands = rows(*((t, 3, 500.0) for t in range(1, 11)), category=category)
    both = [np.concatenate([getattr(TWO_PEOPLE, n), getattr(stands, n)]) for n in MotRows.__dataclass_fields__]
    s = score_sequence(MotRows(*both), rows(*zip(both[0], both[1], both[2][:, 0], strict=True)), benchmark)
    assert s.fp == fp
    assert s.truth == (30 if category == 1 else 20)


def test_truth_with_flag_0_does_not_count() -> None:
    flag = (TWO_PEOPLE.track_id == 1).astype(float)
    truth = MotRows(TWO_PEOPLE.frame, TWO_PEOPLE.track_id, TWO_PEOPLE.boxes, flag, TWO_PEOPLE.category)
    s = score_sequence(truth, TWO_PEOPLE, "MOT15")
    assert (s.truth, s.fp) == (10, 10)


def test_files_of_all_years_are_read(tmp_path: Path) -> None:
    mot15, mot17, empty = (tmp_path / n for n in ("15.txt", "17.txt", "empty.txt"))
    mot15.write_text("1,1,399,182,121,229,1,-12.8,-13.9,0\n\n2,1,400,182,121,229,0,-1,-1,-1\n")
    mot17.write_text("1,1,912,484,97,109,0,7,1\n1,2,912.5,484,97,109,1,1,0.5\n")
    empty.write_text("")
    early, late = read_mot(mot15), read_mot(mot17)
    np.testing.assert_array_equal(early.boxes[0], [399, 182, 520, 411])
    assert early.flag.tolist() == [1, 0]
    assert guess_benchmark(mot15, early) == "MOT15"
    assert late.category.tolist() == [7, 1]
    assert guess_benchmark(mot17, late) == "MOT17"
    assert guess_benchmark("MOT20-01/gt.txt", late) == "MOT20"
    assert len(read_mot(empty)) == 0


@pytest.mark.parametrize(
    "line",
    [
        "1,2,3",
        "1,1,a,2,3,4",
        "1,1,nan,2,3,4",
        "1,1,1,2,inf,4",
        "1,1,1,2,-3,4",
        "0,1,1,2,3,4",
        "1.5,1,1,2,3,4",
        "1,1,1,2,3,4,1,1,1,1,1",
        "1 1 1 2 3 4",
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "gt.txt"
    path.write_text(f"1,1,10,10,5,5\n\n{line}\n2,1,10,10,5,5\n")
    with pytest.raises(InputError, match=r"gt\.txt, line 3 "):
        read_mot(path)


def test_an_id_twice_in_a_frame_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.txt"
    path.write_text("1,4,10,10,5,5\n2,4,10,10,5,5\n2,4,30,10,5,5\n")
    with pytest.raises(InputError, match="line 3: id 4 occurs twice"):
        read_mot(path)
    path.write_text("1,-1,10,10,5,5,0.9\n1,-1,30,10,5,5,0.8\n")
    assert len(read_mot(path)) == 2


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.txt"):
        read_mot(tmp_path / "missing.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.txt"):
        read_mot(tmp_path / "binary.txt")
