"""The action network: its sizes, what each part adds to loss and answer, and that its state travels whole."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional

from posepipe.errors import UsageError, WeightsError
from posepipe.models.pcan import LossWeights, Pcan, PcanParts, StreamOutput, fuse, light_pcan
from posepipe.models.pcan_prototypes import tree_loss
from posepipe.models.rgbpose3d import POSE_PATHWAY, RGB_PATHWAY

TINY_RGB = replace(RGB_PATHWAY, base=8, blocks=(1, 1, 1, 1))
TINY_POSE = replace(POSE_PATHWAY, base=4, blocks=(1, 1, 1))
COARSE = (0, 0, 1, 2, 1)
FORMS = {"both": (TINY_RGB, TINY_POSE), "rgb": (TINY_RGB, None), "pose": (None, TINY_POSE)}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


def tiny(streams="both", *, coarse_of=COARSE, **settings):
    rgb, pose = FORMS[streams]
    return Pcan(5, 6, coarse_of=coarse_of, rgb=rgb, pose=pose, **settings)


def clips(streams="both", people=4):
    rgb, pose = torch.randn(people, 3, 2, 32, 32), torch.rand(people, 6, 8, 8, 8)
    return {"both": {"rgb": rgb, "pose": pose}, "rgb": {"rgb": rgb}, "pose": {"pose": pose}}[streams]


def awake(network):
    """Random norms, so that no branch is silent."""
    for name, value in network.state_dict().items():
        if name.endswith(("norm.weight", "running_var")):
            torch.nn.init.uniform_(value, 0.5, 1.5)
    return network


def on_meta(*arguments, **settings):
    with torch.device("meta"):
        return Pcan(*arguments, **settings)


def test_published_sizes():
    plain = on_meta(60, parts=PcanParts.none())
    assert count(plain) == 36_147_928
    assert count(plain.heads["rgb"]) == 122_940
    assert count(plain.heads["pose"]) == 30_780
    both = on_meta(60, coarse_of=[i % 8 for i in range(60)], parts=PcanParts.none())
    assert count(both.heads["rgb"].coarse) == 16_392
    assert count(both.heads["pose"].coarse) == 4_104


def test_published_network_has_its_gates_and_prototypes():
    network = on_meta(52, 28, coarse_of=[i % 7 for i in range(52)])
    assert count(network.backbone) == 37_983_296
    shapes = {n.removeprefix("heads."): tuple(b.shape) for n, b in network.named_buffers() if n.endswith(".bank")}
    assert shapes == {
        "rgb.fine_prototypes.bank": (52, 256),
        "rgb.coarse_prototypes.bank": (7, 128),
        "pose.fine_prototypes.bank": (52, 256),
        "pose.coarse_prototypes.bank": (7, 128),
    }
    assert count(network.heads["rgb"].fine_prototypes) == 2048 * 256 + 256
    assert count(network.heads["pose"].coarse_prototypes) == 512 * 128 + 128


@pytest.mark.parametrize("keypoints", [17, 28, 133])
def test_light_network_is_small(keypoints):
    with torch.device("meta"):
        network = light_pcan(60, keypoints, coarse_of=[i % 8 for i in range(60)])
    assert count(network) < 1_000_000
    assert list(network.heads) == ["pose"]


def test_light_network_learns_two_motions():
    network = light_pcan(2, 3, parts=replace(PcanParts(), rectification=False)).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    maps = torch.zeros(4, 3, 8, 16, 16)
    maps[:2, :, :, :8], maps[2:, :, :, 8:] = 1, 1
    labels = torch.tensor([0, 0, 1, 1])
    for _ in range(8):
        optimiser.zero_grad()
        said = network(pose=maps)
        sum(network.losses(said, labels).values()).backward()
        optimiser.step()
    assert said["pose"].fine.argmax(1).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("streams", FORMS)
def test_every_form_answers_and_every_weight_gets_a_gradient(streams):
    network = awake(tiny(streams)).train()
    said = network(**clips(streams))
    names = ["rgb", "pose"] if streams == "both" else [streams]
    assert list(said) == names
    for one in said.values():
        assert one.fine.shape == (4, 5)
        assert one.coarse.shape == (4, 3)
    parts = network.losses(said, torch.tensor([0, 1, 2, 3]))
    kinds = ("fine", "coarse", "coarse_prototypes", "tree", "fine_prototypes", "diversity")
    assert list(parts) == [f"{stream}_{kind}" for stream in names for kind in kinds]
    sum(parts.values()).backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert silent == []


@pytest.mark.parametrize("part", [f.name for f in fields(PcanParts)])
def test_a_part_that_is_off_leaves_nothing(part):
    whole, without = tiny(), tiny(parts=replace(PcanParts(), **{part: False}))
    gone = {name for name in whole.state_dict() if name not in without.state_dict()}
    marks = {"gates": ".gates.", "fine_prototypes": ".fine_prototypes.", "coarse_prototypes": ".coarse_prototypes."}
    assert gone == {n for n in whole.state_dict() if part in marks and marks[part] in n}
    without.train()
    parts = without.losses(without(**clips()), torch.tensor([0, 1, 2, 3]))
    off = {"fine_prototypes": ("fine_prototypes", "diversity"), "coarse_prototypes": ("coarse_prototypes",)}
    off["tree"] = ("tree",)
    assert not {n.split("_", 1)[1] for n in parts} & set(off.get(part, ()))
    assert len(parts) == 12 - 2 * len(off.get(part, ()))


def test_without_coarse_classes_there_is_no_coarse_part():
    network = tiny("pose", coarse_of=None)
    assert not [n for n in network.state_dict() if "coarse_prototypes" in n or ".coarse." in n]
    said = network(**clips("pose"))
    assert said["pose"].coarse is None
    assert list(network.losses(said, torch.zeros(4, dtype=torch.long))) == [
        "pose_fine",
        "pose_fine_prototypes",
        "pose_diversity",
    ]
    assert fuse(said)[1] is None


def test_parts_of_the_loss_and_their_weights():
    network = awake(tiny("pose")).eval()
    said = network(**clips("pose"))
    labels = torch.tensor([0, 1, 2, 3])
    coarse = torch.tensor(COARSE)[labels]
    one = said["pose"]
    head = network.heads["pose"]
    right = one.coarse.argmax(1) == coarse
    calibration, diversity = head.fine_prototypes(one.peaks, one.fine, labels, right)
    tree = tree_loss(one.fine, one.coarse, functional.one_hot(labels, 5).float(), torch.tensor(COARSE)).mean()
    expected = {
        "pose_fine": functional.cross_entropy(one.fine, labels),
        "pose_coarse": functional.cross_entropy(one.coarse, coarse),
        "pose_coarse_prototypes": head.coarse_prototypes(one.peaks, one.coarse, coarse) / 5,
        "pose_tree": tree,
        "pose_fine_prototypes": calibration / 5,
        "pose_diversity": diversity / 5,
    }
    torch.testing.assert_close(network.losses(said, labels), expected)
    weights = LossWeights(pose=1.5, pose_coarse=1.2, prototypes=0, diversity=0, tree=2)
    found = network.losses(said, labels, weights, smoothing=0.1)
    smooth = functional.cross_entropy(one.coarse, coarse, label_smoothing=0.1)
    torch.testing.assert_close(found["pose_coarse"], 1.2 * smooth)
    torch.testing.assert_close(found["pose_tree"], 2 * tree)
    assert found["pose_diversity"] == 0


def test_losses_of_mixed_precision_are_single():
    network = awake(tiny("pose")).train()
    with torch.autocast("cpu", torch.bfloat16):
        said = network(**clips("pose"))
        parts = network.losses(said, torch.tensor([0, 1, 2, 3]))
    assert said["pose"].fine.dtype == torch.bfloat16
    assert {value.dtype for value in parts.values()} == {torch.float32}
    exact = network.eval().losses(said, torch.tensor([0, 1, 2, 3]))
    torch.testing.assert_close(parts["pose_tree"], exact["pose_tree"])
    sum(parts.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_targets_of_mixed_clips():
    network = awake(tiny("pose")).eval()
    said = network(**clips("pose"))
    first, second = torch.tensor([0, 1, 2, 3]), torch.tensor([4, 4, 4, 4])
    mixed = 0.7 * functional.one_hot(first, 5).float() + 0.3 * functional.one_hot(second, 5).float()
    parts, one, other = (network.losses(said, y) for y in (mixed, first, second))
    for name in ("pose_fine", "pose_coarse", "pose_tree"):
        torch.testing.assert_close(parts[name], 0.7 * one[name] + 0.3 * other[name])
    for name in ("pose_coarse_prototypes", "pose_fine_prototypes"):
        torch.testing.assert_close(parts[name], one[name])


@pytest.mark.parametrize(("stream", "factor"), [("rgb", 5.0), ("pose", 1.0)])
def test_rectification_adds_likeness_at_inference_alone(stream, factor):
    network = awake(tiny(dropout=0.0)).eval()
    without = tiny(dropout=0.0, parts=replace(PcanParts(), rectification=False)).eval()
    without.load_state_dict(network.state_dict())
    with torch.no_grad():
        shown = clips()
        features = network.backbone(**shown)[stream].mean((2, 3, 4))
        said, bare = network(**shown)[stream], without(**shown)[stream]
        prototypes = network.heads[stream].fine_prototypes
        likeness = functional.cosine_similarity(prototypes.embed(features)[:, None], prototypes.bank[None], dim=2)
    torch.testing.assert_close(said.fine, bare.fine + factor * likeness, atol=1e-5, rtol=1e-5)
    assert torch.equal(said.coarse, bare.coarse)
    head = network.heads[stream].train()
    x = torch.randn(2, head.fine.in_features, 2, 1, 1)
    torch.testing.assert_close(head(x).fine, head.fine(x.mean((2, 3, 4))))


def test_prototypes_see_the_maximum_over_cells_of_the_mean_over_time_without_dropout():
    head = tiny("pose", dropout=0.9).heads["pose"].train()
    x = torch.rand(2, head.fine.in_features, 3, 2, 2)
    torch.testing.assert_close(head(x).peaks, x.mean(2).flatten(2).max(2).values)


def test_clips_and_streams_are_averaged_as_probabilities():
    rgb = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 9.0], [0.0, 9.0]])
    pose = torch.zeros(4, 2)
    fine, coarse = fuse({"rgb": StreamOutput(rgb, rgb, rgb), "pose": StreamOutput(pose, pose, pose)}, clips=2)
    first = (rgb.softmax(1)[0] + rgb.softmax(1)[1]) / 2
    torch.testing.assert_close(fine[0], (first + 0.5) / 2)
    torch.testing.assert_close(fine.sum(1), torch.ones(2))
    assert torch.equal(fine, coarse)


def test_state_travels_with_banks_and_coarse_map(tmp_path):
    network = awake(tiny()).train()
    network.losses(network(**clips()), torch.tensor([0, 1, 2, 3]))
    file = tmp_path / "action.pth"
    torch.save(network.state_dict(), file)
    other = tiny(coarse_of=(0, 1, 2, 0, 0))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.coarse_of.tolist() == list(COARSE)
    for (name, a), b in zip(network.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    shown = clips()
    with torch.no_grad():
        assert torch.equal(network.eval()(**shown)["rgb"].fine, other.eval()(**shown)["rgb"].fine)


def test_merged_network_says_at_first_what_the_single_ones_said():
    parts = replace(PcanParts(), gates=False)
    singles = {stream: awake(tiny(stream, parts=parts)).eval() for stream in ("rgb", "pose")}
    merged = tiny(parts=parts).eval()
    fresh = merged.backbone.to_rgb[0].weight.clone()
    merged.adopt(*singles.values())
    shown = clips()
    with torch.no_grad():
        said = merged(**shown)
        for stream, single in singles.items():
            alone = single(**{stream: shown[stream]})[stream]
            torch.testing.assert_close(said[stream].fine, alone.fine, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(said[stream].coarse, alone.coarse, atol=1e-5, rtol=1e-5)
    assert torch.equal(merged.backbone.to_rgb[0].weight, fresh)
    wide = merged.backbone.rgb.stages[2][0].conv1.conv.weight
    assert not wide[:, 64:].any()
    padded = [
        name
        for stream, single in singles.items()
        for name, value in single.state_dict().items()
        if merged.state_dict()[name].shape != value.shape
    ]
    assert len(padded) == 8


def test_networks_that_do_not_merge_are_named():
    merged = tiny()
    with pytest.raises(UsageError, match=r"heads\.pose\.fine\.weight"):
        merged.adopt(Pcan(9, 6, rgb=None, pose=TINY_POSE))
    with pytest.raises(UsageError, match=r"backbone\.pose\.stem"):
        merged.adopt(Pcan(5, 2, coarse_of=COARSE, rgb=None, pose=TINY_POSE))


def test_poses_of_another_skeleton_are_refused():
    network = light_pcan(4, 17)
    with pytest.raises(WeightsError, match="for 17 keypoints; got 28 channels"):
        network(pose=torch.zeros(1, 28, 8, 16, 16))


@pytest.mark.parametrize("coarse_of", [(0, 1), (0, 0, 2, 2, 0), (-1, 0, 0, 0, 0), ()])
def test_coarse_maps_that_do_not_fit_are_refused(coarse_of):
    with pytest.raises(UsageError, match="coarse map"):
        tiny("pose", coarse_of=coarse_of)
    with pytest.raises(UsageError, match="needs classes"):
        Pcan(0, rgb=None, pose=TINY_POSE)
