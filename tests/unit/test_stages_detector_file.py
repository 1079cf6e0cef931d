import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posepipe.config import data_root
from posepipe.errors import InputError
from posepipe.stages import Detector
from posepipe.stages.detector_file import FileDetector, read_boxes
from posepipe.types import Frame


def frame(index, shape=(500, 600)):
    return Frame(index, index / 25, np.zeros((*shape, 3), np.uint8))


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def test_mot_rows_count_frames_from_one(tmp_path):
    path = write(
        tmp_path, "det.txt", "1,-1,10,20,30,40,0.9,-1,-1,-1\n\n# note\n3,-1,1.5,2.5,10,10,0.8\n3,7,50,50,5,5\n"
    )
    detector = FileDetector(path)
    assert isinstance(detector, Detector)
    assert detector.detect(frame(0)).boxes.tolist() == [[10, 20, 40, 60]]
    assert len(detector.detect(frame(1))) == 0
    third = detector.detect(frame(2))
    assert third.boxes.tolist() == [[50, 50, 55, 55], [1.5, 2.5, 11.5, 12.5]], "a missing score counts as 1: best first"
    assert np.allclose(third.score, [1, 0.8])


def test_mot_rows_with_blanks_between(tmp_path):
    assert read_boxes(write(tmp_path, "a.txt", "1 -1 1 2 3 4 0.5\n"))[0].tolist() == [[1, 2, 4, 6, 0.5]]


def test_plain_json(tmp_path):
    path = write(tmp_path, "boxes.json", {"0": [[1, 2, 11, 22, 0.7], [5, 5, 9, 9]], "4": []})
    assert FileDetector(path).detect(frame(0)).boxes.tolist() == [[5, 5, 9, 9], [1, 2, 11, 22]]


def test_coco_results_take_the_image_id_as_frame(tmp_path):
    rows = [
        {"image_id": 2, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9},
        {"image_id": 2, "category_id": 18, "bbox": [1, 2, 30, 40], "score": 0.9},
    ]
    assert {f: r[:, :4].tolist() for f, r in read_boxes(write(tmp_path, "r.json", rows)).items()} == {2: [[1, 2, 4, 6]]}


def test_coco_annotations_take_the_number_in_the_name_else_the_position(tmp_path):
    data = {
        "images": [{"id": 70, "file_name": "clip/frame_000012.jpg"}, {"id": 80, "file_name": "cover.jpg"}],
        "annotations": [
            {"image_id": 70, "category_id": 1, "bbox": [0, 0, 5, 5]},
            {"image_id": 80, "category_id": 1, "bbox": [0, 0, 6, 6]},
            {"image_id": 80, "category_id": 1, "bbox": [0, 0, 7, 7], "iscrowd": 1},
        ],
    }
    boxes = read_boxes(write(tmp_path, "a.json", data))
    assert {f: r.tolist() for f, r in boxes.items()} == {12: [[0, 0, 5, 5, 1]], 1: [[0, 0, 6, 6, 1]]}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", "1,-1,1,2,3,4,0.5\n1,-1,1,2,three,4\n", "line 2"),
        ("a.txt", "0,-1,1,2,3,4,0.5\n", "line 1"),
        ("a.txt", "1.5,-1,1,2,3,4,0.5\n", "line 1"),
        ("a.txt", "1,2,3\n", "line 1"),
        ("a.txt", "1,-1,nan,2,3,4,0.5\n", "line 1"),
        ("a.txt", "inf,-1,1,2,3,4,0.5\n", "line 1"),
        ("a.txt", "1,-1,1,2,3,4,inf\n", "line 1"),
        ("a.json", "{", "valid JSON"),
        ("a.json", "[" * 100_000, "valid JSON"),
        ("a.json", "3", "no boxes"),
        ("a.json", '{"x": []}', "'x'"),
        ("a.json", '{"0": [[1, 2, 3]]}', "'0'"),
        ("a.json", '{"0": 5}', "'0'"),
        ("a.json", '{"0": [[1, 2, 3, NaN, 1]]}', "frame 0, box 0"),
        ("a.json", '{"-1": [[1, 2, 3, 4, 1]]}', "frame -1"),
        ("a.json", '[{"image_id": 0}]', "entry 0"),
        ("a.json", '[{"image_id": 0, "bbox": [1, 2, 3, 4]}, 7]', "entry 1"),
        ("a.json", '[{"image_id": [0], "bbox": [1, 2, 3, 4]}]', "entry 0"),
        ("a.json", '{"images": [], "annotations": [{"image_id": 5, "bbox": [1, 2, 3, 4]}]}', "entry 0"),
        ("a.json", '{"images": [7], "annotations": []}', "images"),
    ],
)
def test_malformed_files_name_the_file_and_the_place(tmp_path, name, content, told):
    with pytest.raises(InputError) as caught:
        FileDetector(write(tmp_path, name, content))
    assert told in str(caught.value)
    assert name in str(caught.value)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(InputError, match=r"none\.txt"):
        FileDetector(tmp_path / "none.txt")
    (tmp_path / "bin.txt").write_bytes(b"\xff\xfe\x00\x80" * 99)
    with pytest.raises(InputError, match="not a text file"):
        FileDetector(tmp_path / "bin.txt")


def test_swapped_corners_are_turned_round_with_a_warning(tmp_path):
    path = write(tmp_path, "b.json", {"0": [[30, 40, 10, 20, 0.9]]})
    with pytest.warns(UserWarning, match="1 boxes"):
        detector = FileDetector(path)
    assert detector.detect(frame(0)).boxes.tolist() == [[10, 20, 30, 40]]


def test_settings_apply(tmp_path):
    path = write(tmp_path, "b.json", {"0": [[10 * i, 0, 10 * i + 9, 9, i / 10] for i in range(10)]})
    found = FileDetector(path, score=0.5, max_people=2).detect(frame(0))
    assert np.allclose(found.score, [0.9, 0.8])
    assert len(FileDetector(path, score=0.0).detect(frame(0, (5, 25)))) == 3, (
        "what lies outside the picture is left out"
    )


@given(st.text(alphabet='0123456789,.-+eEnaif \n{}[]":', max_size=200), st.sampled_from(["x.txt", "x.json"]))
def test_any_text_is_read_or_refused(tmp_path_factory, text, name):
    path = tmp_path_factory.mktemp("t") / name
    path.write_text(text, "utf-8")
    try:
        detector = FileDetector(path, score=0.0)
    except InputError:
        return
    detector.detect(frame(0))


def test_real_detections():
    path = data_root() / "track" / "mot15" / "TUD-Campus" / "det.txt"
    if not path.is_file():
        pytest.skip("the measuring data (POSEPIPE_DATA) is not here")
    rows = np.loadtxt(path, delimiter=",")
    boxes = read_boxes(path)
    assert sum(map(len, boxes.values())) == len(rows)
    first = rows[rows[:, 0] == 1]
    want = np.concatenate([first[:, 2:4], first[:, 2:4] + first[:, 4:6], first[:, 6:7]], 1)
    assert np.allclose(boxes[0], want, atol=1e-3)
