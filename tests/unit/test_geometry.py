import numpy as np
import pytest

from posepipe.geometry import affine_points, crop_affine, invert_affine, iou, nms, oks


def test_iou_golden() -> None:
    a = np.array([[0, 0, 10, 10]])
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 4, 4], [3, 3, 3, 9]])
    np.testing.assert_allclose(iou(a, b), [[1, 1 / 3, 0, 0.04, 0]])
    assert iou(np.zeros((0, 4)), b).shape == (0, 5)


def test_nms_keeps_the_best_of_a_heap_and_what_stands_apart() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]])
    assert nms(boxes, np.array([0.5, 0.9, 0.7]), 0.5).tolist() == [1, 2]
    assert nms(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []


def test_a_box_dropped_early_does_not_drop_others() -> None:
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])
    assert nms(boxes, np.array([0.9, 0.8, 0.7]), 0.3).tolist() == [0, 2]


def test_oks_is_that_of_pycocotools() -> None:
    mask = pytest.importorskip("pycocotools.cocoeval")
    coco = pytest.importorskip("pycocotools.coco")
    rng = np.random.default_rng(5)
    truth, guess = rng.uniform(0, 200, (3, 17, 2)), rng.uniform(0, 200, (4, 17, 2))
    guess[0] = truth[1] + rng.normal(0, 4, (17, 2))
    visible, area = rng.integers(0, 3, (3, 17)), rng.uniform(1e3, 1e4, 3)
    visible[:, 0] = 2

    def row(k: int, xy: np.ndarray, v: np.ndarray, a: float) -> dict[str, object]:
        keypoints = np.column_stack([xy, v]).ravel().tolist()
        common = {"id": k + 1, "image_id": 1, "category_id": 1, "keypoints": keypoints, "bbox": [0, 0, 1, 1]}
        return {**common, "area": a, "iscrowd": 0, "num_keypoints": int((v > 0).sum()), "score": 1 - k / 10}

    gt, dt = coco.COCO(), coco.COCO()
    shared = {"images": [{"id": 1}], "categories": [{"id": 1}]}
    gt.dataset = {**shared, "annotations": [row(k, truth[k], visible[k], float(area[k])) for k in range(3)]}
    dt.dataset = {**shared, "annotations": [row(k, guess[k], np.ones(17), 1.0) for k in range(4)]}
    gt.createIndex()
    dt.createIndex()
    run = mask.COCOeval(gt, dt, "keypoints")
    run.params.imgIds, run.params.catIds = [1], [1]
    run._prepare()
    sigmas = run.params.kpt_oks_sigmas
    np.testing.assert_allclose(oks(truth, visible, area, guess, sigmas), run.computeOks(1, 1).T, rtol=0, atol=1e-12)


def test_a_crop_shows_its_box_in_the_middle_with_its_margin() -> None:
    matrix = crop_affine(np.array([[10.0, 20, 50, 120]]), (256, 192), padding=1.25)
    np.testing.assert_allclose(affine_points(matrix, [[[29.5, 69.5]]])[0, 0], [95.5, 127.5])
    top, bottom = affine_points(matrix, [[[30, 19.5], [30, 119.5]]])[0, :, 1]
    assert bottom - top == pytest.approx(256 / 1.25)


def test_a_crop_does_not_distort_and_can_be_undone() -> None:
    matrix = crop_affine(np.array([[10, 20, 400, 60], [3, 3, 3, 3]]), (256, 192))
    assert matrix[0, 0, 0] == matrix[0, 1, 1] == pytest.approx(192 / 390 / 1.25)
    points = np.random.default_rng(0).uniform(-50, 500, (2, 9, 2))
    np.testing.assert_allclose(affine_points(invert_affine(matrix), affine_points(matrix, points)), points, atol=1e-9)
