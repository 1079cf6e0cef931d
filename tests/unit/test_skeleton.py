import numpy as np
import pytest

from posepipe import COCO17, Skeleton


def test_coco17_has_the_order_of_the_coco_annotations() -> None:
    assert COCO17.keypoints[:5] == ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
    assert COCO17.keypoints[-2:] == ("left_ankle", "right_ankle")
    assert len(COCO17) == 17


def test_sigmas_are_those_of_pycocotools() -> None:
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    np.testing.assert_allclose(COCO17.sigmas, cocoeval.Params("keypoints").kpt_oks_sigmas, rtol=0, atol=1e-12)


def test_mirror_swaps_left_and_right_and_undoes_itself() -> None:
    mirror = COCO17.mirror
    assert mirror[COCO17.index("nose")] == COCO17.index("nose")
    for i, name in enumerate(COCO17.keypoints):
        swapped = name.replace("left", "#").replace("right", "left").replace("#", "right")
        assert COCO17.keypoints[mirror[i]] == swapped
    np.testing.assert_array_equal(mirror[mirror], np.arange(17))


def test_edges_are_index_pairs_that_a_mirror_maps_onto_edges() -> None:
    edges = {frozenset(e) for e in COCO17.edge_index.tolist()}
    mirrored = {frozenset(COCO17.mirror[list(e)].tolist()) for e in edges}
    assert edges == mirrored


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoints": ("a", "a")}, "twice"),
        ({"sigmas": (0.1,)}, "sigmas"),
        ({"edges": (("a", "ghost"),)}, "ghost"),
        ({"pairs": (("a", "ghost"),)}, "ghost"),
    ],
)
def test_an_inconsistent_skeleton_is_refused(changes: dict[str, object], message: str) -> None:
    fields: dict[str, object] = {"name": "x", "keypoints": ("a", "b"), "edges": (), "pairs": (), "sigmas": (0.1, 0.1)}
    with pytest.raises(ValueError, match=message):
        Skeleton(**{**fields, **changes})  # type: ignore[arg-type]
