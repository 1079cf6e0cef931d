"""A stand-in for a private clinic set, out of UP-Fall clips: ``python datasets/prepare_upfall_standin.py OUT``.

It makes what a laboratory has that labelled its videos with AlphaPose: frames in ``OUT/frames/VIDEO/000123.jpg``, one
result file a video (``OUT/labels/VIDEO.json``), a split by trial (``OUT/splits/trial.json``: trials 1 and 2 train, a
part of them val, trial 3 test; both cameras of a trial on one side), and who does what in ``OUT/states.csv``. The
labeller is PP-TinyPose on the boxes of YOLOX-nano, so a network that is trained and measured here is measured by its
agreement with them. A run that was broken off goes on with the clips that are missing.

States come from the clip's activity, and only where that is certain (see `state_of`).
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from posepipe.config import data_root
from posepipe.datasets.splits import By, Split, write_split
from posepipe.geometry import affine_points, crop_affine, invert_affine, nms
from posepipe.heatmaps import decode_peaks
from posepipe.io.atomic import atomic_path
from posepipe.io.video import open_video

#: least score and longer side (px) of a person that is labelled, and least height of one who is not a passer-by
LEAST_SCORE, LEAST_SIDE, SUBJECT_SIDE = 0.3, 60.0, 100.0
#: most frames taken of one clip: the long clips hardly change
MOST_FRAMES = 135
#: (activity, trial) of the validation part, drawn once out of trials 1 and 2; trial 3 is the test part
VALIDATION, TEST_TRIAL = ((2, 1), (3, 1), (10, 1)), 3
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
ACTIVITY_STATES = {6: "walking", 7: "standing", 8: "sitting", 9: "picking up", 10: "jumping", 11: "lying"}
STATE_FIELDS = ("video", "image_id", "x", "y", "width", "height", "role", "state")

Image = NDArray[np.uint8]


class Clip(NamedTuple):
    """A line of labels.csv."""

    path: Path
    activity: int
    trial: int
    camera: int


def read_clips(folder: Path) -> list[Clip]:
    """All clips of labels.csv."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [Clip(folder / r["file"], int(r["activity"]), int(r["trial"]), int(r["camera"])) for r in rows]


class YoloxBoxes:
    """People by the YOLOX-nano of the baselines (416x416, BGR in 0..255)."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        cells = [np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1).reshape(-1, 2) for n in (52, 26, 13)]
        self.grid = np.concatenate(cells)
        self.stride = np.repeat([8, 16, 32], [len(c) for c in cells])[:, None]

    def __call__(self, image: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Boxes (N,4) xyxy px and scores (N,) of a picture (H,W,3) RGB."""
        height, width = image.shape[:2]
        ratio = min(416 / height, 416 / width)
        canvas = np.full((416, 416, 3), 114, np.uint8)
        small = cv2.resize(image, (int(width * ratio), int(height * ratio)))
        canvas[: small.shape[0], : small.shape[1]] = small
        batch = canvas[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)
        found = self.session.run(None, {"images": batch})[0][0].astype(np.float64)
        centre, half = (found[:, :2] + self.grid) * self.stride, np.exp(found[:, 2:4]) * self.stride / 2
        boxes = np.clip(np.concatenate([centre - half, centre + half], 1) / ratio, 0, [width, height, width, height])
        score = found[:, 4] * found[:, 5]
        longer = (boxes[:, 2:] - boxes[:, :2]).max(1)
        rows = np.flatnonzero((score >= LEAST_SCORE) & (longer >= LEAST_SIDE))
        rows = rows[nms(boxes[rows], score[rows], 0.5)]
        return boxes[rows], score[rows]


class TinyPose:
    """Keypoints by PP-TinyPose 256x192 (boxes x 1.1, peaks refined by DARK), on OpenVINO."""

    def __init__(self, path: Path) -> None:
        import openvino

        core = openvino.Core()
        self.model = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_NUM_THREADS": 1})

    def __call__(self, image: Image, box: NDArray[np.float64]) -> NDArray[np.float64]:
        """(17,3) x, y in px and confidence of the person in `box` (4,)."""
        matrix = crop_affine(box[None], (256, 192), 1.1)[0]
        crop = cv2.warpAffine(image, matrix, (192, 256), flags=cv2.INTER_LINEAR)
        batch = ((crop / 255.0 - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)
        xy, score = decode_peaks(self.model([batch])[0])
        return np.concatenate([affine_points(invert_affine(matrix), xy[0] * 4.0), score[0][:, None]], 1)


def alphapose_row(image_id: str, box: NDArray[np.float64], box_score: float, joints: NDArray[np.float64]) -> Any:
    """One person as AlphaPose writes it: box xywh, score = mean(joints) + box + 1.25 max(joints)."""
    confidence = joints[:, 2]
    return {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": [round(float(value), 3) for value in joints.ravel()],
        "score": round(float(confidence.mean() + box_score + 1.25 * confidence.max()), 4),
        "box": [round(float(value), 2) for value in (box[0], box[1], box[2] - box[0], box[3] - box[1])],
        "idx": [0.0],
    }


def label_clip(clip: Clip, out: Path, every: int, detector: YoloxBoxes, pose: TinyPose) -> int:
    """Write a clip's frames and its result file; returns the people labelled."""
    folder = out / "frames" / clip.path.stem
    folder.mkdir(parents=True, exist_ok=True)
    with open_video(clip.path) as video:
        frames = [frame for frame in video if frame.index % every == 0]
    step = -(-len(frames) // MOST_FRAMES)
    rows = []
    for frame in frames[::step]:
        name = f"{frame.index:06d}.jpg"
        cv2.imwrite(str(folder / name), frame.image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        boxes, scores = detector(frame.image)
        rows += [alphapose_row(name, b, float(s), pose(frame.image, b)) for b, s in zip(boxes, scores, strict=True)]
    with atomic_path(label_file(out, clip)) as unfinished:
        unfinished.write_text(json.dumps(rows), "utf-8")
    return len(rows)


def label_file(out: Path, clip: Clip) -> Path:
    """The clip's result file."""
    return out / "labels" / f"{clip.path.stem}.json"


def roles(boxes: NDArray[np.float64], camera: int) -> list[str]:
    """Who is who in one frame, boxes (N,4) xywh px of 640x480.

    ``second``: who sits on the chair at the right of camera 2 all day; ``subject``: the largest of the others, if
    larger than a passer-by behind the glass; ``other``: the rest.
    """
    x, y, width, height = boxes.T
    chair = (camera == 2) & (x + width / 2 > 480) & (y + height < 350)
    area = np.where(chair | (np.maximum(width, height) < SUBJECT_SIDE), 0, width * height)
    subject = int(area.argmax()) if len(area) and area.max() > 0 else -1
    return ["second" if c else "subject" if i == subject else "other" for i, c in enumerate(chair)]


def state_of(clip: Clip, role: str, part: float, box: NDArray[np.float64]) -> str:
    """What a person surely does, or "": `part` of the clip is over (0..1), `box` is xywh.

    The second person sits. The subject does the clip's activity; in a fall (activities 1 to 5) it stands while its box
    is upright (2.4 times as high as wide) in the first 10 % of the clip, and lies in the second half.
    """
    if role == "second":
        return "sitting"
    if role != "subject":
        return ""
    if clip.activity in ACTIVITY_STATES:
        return ACTIVITY_STATES[clip.activity]
    if part < 0.1 and box[3] >= 2.4 * box[2]:
        return "standing"
    return "lying" if part >= 0.5 else ""


def write_states(clips: list[Clip], out: Path) -> None:
    """OUT/states.csv: video, image_id, x, y, width, height (the box in the result file), role, state."""
    with atomic_path(out / "states.csv") as unfinished, unfinished.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(STATE_FIELDS)
        for clip in clips:
            rows = json.loads(label_file(out, clip).read_text("utf-8"))
            last = max(int(path.stem) for path in (out / "frames" / clip.path.stem).iterdir())
            for image_id in sorted({row["image_id"] for row in rows}):
                boxes = np.array([row["box"] for row in rows if row["image_id"] == image_id])
                part = int(Path(image_id).stem) / max(last, 1)
                for role, box in zip(roles(boxes, clip.camera), boxes, strict=True):
                    writer.writerow([clip.path.stem, image_id, *box, role, state_of(clip, role, part, box)])


def write_parts(clips: list[Clip], out: Path) -> None:
    """OUT/splits/trial.json: by trial, so that both cameras of one doing are on one side."""
    parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for clip in clips:
        aside = "val" if (clip.activity, clip.trial) in VALIDATION else "train"
        parts["test" if clip.trial == TEST_TRIAL else aside].append(clip.path.stem)
    listed = {part: tuple(sorted(members)) for part, members in parts.items()}
    file = out / "splits" / "trial.json"
    file.parent.mkdir(exist_ok=True)
    write_split(Split(By.VIDEO, listed, seed=0, source=out.name), file)


def main() -> None:
    """Label all clips, then write states and split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to make (or to go on with)")
    parser.add_argument("--upfall", type=Path, default=data_root() / "upfall", help="folder with labels.csv and clips")
    parser.add_argument("--baselines", type=Path, default=data_root() / "baselines", help="folder of the two networks")
    parser.add_argument("--every", type=int, default=3, help=f"take every n-th frame, at most {MOST_FRAMES} a clip")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    clips = read_clips(options.upfall)
    (options.out / "labels").mkdir(parents=True, exist_ok=True)
    detector = YoloxBoxes(options.baselines / "yolox_nano.onnx")
    pose = TinyPose(options.baselines / "tinypose_256x192.xml")
    for clip in clips:
        if not label_file(options.out, clip).is_file():
            people = label_clip(clip, options.out, options.every, detector, pose)
            print(f"{clip.path.stem}: {people} people", flush=True)
    write_states(clips, options.out)
    write_parts(clips, options.out)


if __name__ == "__main__":
    main()
