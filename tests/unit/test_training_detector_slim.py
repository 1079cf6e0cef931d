"""The slim detector: its first weights, what it imitates, and which layers learn."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from posepipe.config import data_root
from posepipe.datasets.held_out import held_out
from posepipe.models.detector import BINS, PersonDetector, anchor_points
from posepipe.training.detector import DetectorModule
from posepipe.training.detector_data import training_pictures
from posepipe.training.detector_narrow import kept_channels, refit, slimmed
from posepipe.training.detector_slim import SlimModule, Taps, imitation_loss, relative_error, taps_session
from posepipe.training.recipe import DetectorRecipe, EngineRecipe, SlimDetectorRecipe

SIZE = 64
POINTS, STRIDES = anchor_points(SIZE, SIZE)


@pytest.fixture(scope="module")
def published() -> PersonDetector:
    torch.manual_seed(0)
    return PersonDetector().eval()


@pytest.fixture(scope="module")
def views() -> torch.Tensor:
    return torch.rand(6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 255


def test_kept_channels_are_those_that_tell_the_others():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 6, 8, 8, generator=generator)
    x[:, 4], x[:, 5] = 2 * x[:, 0], -3 * x[:, 1]  # of each such pair one is enough, and the larger counts for more
    assert kept_channels(x, torch.ones(6), 4).tolist() == [2, 3, 4, 5]
    weight = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])  # nothing is made of channel 5
    assert kept_channels(x, weight, 4).tolist() == [1, 2, 3, 4]


def test_refit_finds_a_linear_map_and_its_bias():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 9, 9, generator=generator) + 3
    true = torch.nn.Conv2d(5, 7, 1)
    layer = torch.nn.Conv2d(5, 7, 1)
    with torch.no_grad():
        refit(layer, x, true(x))
        torch.testing.assert_close(layer(x), true(x), atol=2e-2, rtol=0)
    assert float((layer.weight - true.weight).detach().abs().max()) < 2e-3


def test_first_weights_are_nearer_to_the_published_network_than_chance(published, views):
    torch.manual_seed(3)
    chance, fitted = PersonDetector(slim=True), slimmed(published, views)
    torch.testing.assert_close(fitted.backbone.stage32.state_dict(), published.backbone.stage32.state_dict())
    torch.testing.assert_close(fitted.heads[1].state_dict(), published.heads[1].state_dict())
    with torch.no_grad():
        p8, u16, d16, *wanted = Taps(published)(views)

        def errors(network: PersonDetector) -> list[float]:
            fine = network.neck.finest(p8, u16)
            head = network.heads[0](fine)
            cells = head[0].shape[1]
            pairs = [(network.early(views), p8), (network.neck.down16(fine), d16), (head[2], wanted[2][:, :cells])]
            return [float(relative_error(*pair)) for pair in pairs]

        for near, far in zip(errors(fitted), errors(chance), strict=True):
            assert near < far / 2


def random_logits(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((2, len(POINTS)), (2, len(POINTS)), (2, len(POINTS), 4, BINS))
    person, quality, sides = (torch.randn(shape, generator=generator) for shape in shapes)
    return person, quality, sides


def test_the_same_answers_cost_nothing_and_others_do():
    a, b = random_logits(0), random_logits(1)
    assert float(imitation_loss(a, a, POINTS, STRIDES)) == pytest.approx(0, abs=1e-5)
    for changed in range(3):
        mixed = tuple(b[i] if i == changed else a[i] for i in range(3))
        assert float(imitation_loss(mixed, a, POINTS, STRIDES)) > 0.05


def test_imitation_of_a_score_by_hand():
    """Boxes alike, scores .5 where .8 is wanted: the divergence of the two chances over the wanted score."""
    person, _, sides = random_logits(0)
    wanted = torch.full_like(person, float(torch.logit(torch.tensor(0.8))))
    guess = torch.zeros_like(person)
    divergence = 0.8 * np.log(0.8 / 0.5) + 0.2 * np.log(0.2 / 0.5)
    cost = imitation_loss((guess, guess, sides), (wanted, wanted, sides), POINTS, STRIDES)
    assert float(cost) == pytest.approx(divergence / 0.8, rel=1e-3)


@pytest.mark.parametrize("whole", [False, True])
def test_which_layers_learn(whole, published, views, monkeypatch):
    network = slimmed(published, views)
    module = SlimModule(network, published, SlimDetectorRecipe(whole=whole, size=SIZE), [])
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    batch = {"image": views.permute(0, 2, 3, 1).to(torch.uint8)}
    module.training_step(batch, 0).backward()
    moved = {name for name, value in network.named_parameters() if value.grad is not None and value.grad.any()}
    changed = ("backbone.stem", "backbone.stage4", "backbone.stage8", "neck.lateral.0", "neck.narrow", "neck.up8")
    changed += ("neck.down16", "heads.0")
    own = {name for name, _ in network.named_parameters() if name.startswith(changed)}
    if whole:
        assert len(moved) > len(own) + 100
    assert own <= moved if whole else own == moved
    assert not any(name.startswith("_teacher") for name in module.state_dict())
    assert all(value.grad is None for value in published.parameters())


def test_unchanged_layers_learn_at_a_lower_rate(published):
    network = PersonDetector(slim=True)
    engine = EngineRecipe(learning_rate=1e-3)
    module = SlimModule(network, published, SlimDetectorRecipe(whole=True, rest_rate=0.1, engine=engine), [])
    rates = {id(p): group["lr"] for group in module.parameter_groups() for p in group["params"]}
    assert set(rates) == {id(p) for p in network.parameters()}
    assert rates[id(network.neck.narrow.weight)] == rates[id(network.backbone.stem.conv.bias)] == pytest.approx(1e-3)
    assert rates[id(network.neck.top_in[0].conv.weight)] == pytest.approx(1e-4)


def test_the_teacher_says_the_same_on_onnx_runtime(published, views):
    session = taps_session(Taps(published).eval(), SIZE, 1)
    with torch.no_grad():
        for fast, slow in zip(session.run(None, {"image": views.numpy()}), Taps(published)(views), strict=True):
            np.testing.assert_allclose(fast, slow, atol=1e-4)


@pytest.mark.parametrize("slim", [True, False])
def test_half_precision_trains_and_validates(slim, published, views, monkeypatch):
    """Engines are made in float32 inside a bfloat16 step, and answers come back as numpy can hold them."""
    module: DetectorModule
    if slim:
        module = SlimModule(slimmed(published, views), published, SlimDetectorRecipe(whole=True, size=SIZE), [])
    else:
        module = DetectorModule(PersonDetector(), DetectorRecipe(size=SIZE), [])
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    boxes, kind = torch.tensor([[[4.0, 4.0, 40.0, 60.0]]]).repeat(len(views), 1, 1), torch.ones(len(views), 1).long()
    batch = {"image": views.permute(0, 2, 3, 1).to(torch.uint8), "boxes": boxes, "kind": kind}
    picture = torch.zeros(1, 3, 416, 416)
    with torch.autocast("cpu", torch.bfloat16):
        loss = module.training_step(batch, 0)
        with torch.no_grad():
            module.validation_step((torch.tensor([0]), picture, torch.ones(1, 4)), 0)
    assert torch.isfinite(loss)
    assert loss.dtype == torch.float32


def test_pictures_to_learn_on_are_not_held_out_and_not_of_a_test_part():
    root = data_root()
    if not (root / "people/teacher.npz").is_file():
        pytest.skip(f"no data in {root}: set POSEPIPE_DATA")
    pictures = training_pictures(root)
    names = [image.path for image in pictures]
    assert len(set(names)) == len(names) > 5000
    assert not any(held_out(path) for path in names)
    tests = (root / "coco-mini/annotations/person_boxes_test.json").read_text("utf-8")
    assert not any(path.name in tests for path in names if path.parent.parent.name == "coco-mini")
    athletes = (root / "lspet/person_keypoints_test.json").read_text("utf-8")
    assert not any(f'"{path.name}"' in athletes for path in names if path.parent.parent.name == "lspet")
