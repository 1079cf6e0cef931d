"""Prototypes, calibration and tree loss against values worked out by hand and loops written out clip by clip."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from posepipe.models.pcan_checkpoints import MA52_COARSE
from posepipe.models.pcan_prototypes import CoarsePrototypes, FinePrototypes, tree_loss

LOG3 = math.log(3)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def plain(kind, classes, hidden, bank=None):
    """A module whose layer leaves features as they are."""
    module = kind(hidden, classes, hidden)
    with torch.no_grad():
        module.embed.weight.copy_(torch.eye(hidden))
        module.embed.bias.zero_()
        if bank is not None:
            module.bank.copy_(torch.tensor(bank))
    return module.train()


def unit(v):
    return v / (np.linalg.norm(v) + 1e-12)


def cross_entropy(scores, label):
    return math.log(sum(math.exp(s - scores[label]) for s in scores))


def slow_terms(features, bank, probabilities, labels, sets):
    """Mean cross-entropies of the scores of each set of (clip, class, sign, sharpness), loop by loop."""
    total = 0.0
    for members, sign, sharpness in sets:
        for n, f in enumerate(features):
            scores = []
            for k in range(len(bank)):
                score = unit(bank[k]) @ unit(f)
                theirs = [features[m] for m, c in members if c == k]
                if k == labels[n] and theirs:
                    pull = sign * (unit(sum(theirs)) @ unit(f)) - 1
                    score += pull * 0.125 * (1 - probabilities[n][k])
                scores.append(sharpness * score / 0.125)
            total += cross_entropy(scores, labels[n]) / len(features)
    return total


def slow_bank(features, bank, right):
    """(class -> prototype) after a batch; `right` holds (clip, class)."""
    after = [row.copy() for row in bank]
    for k in range(len(bank)):
        own = [features[n] for n, c in right if c == k]
        if own:
            after[k] = 0.9 * bank[k] + 0.1 * sum(own) / len(own)
    return np.array(after)


def batch(clips=24, classes=5, hidden=6):
    features = torch.randn(clips, hidden, dtype=torch.float32)
    return features, torch.randn(clips, classes), torch.randint(0, classes, (clips,))


def test_coarse_loss_worked_out_by_hand():
    module = plain(CoarsePrototypes, 2, 2, [[1.0, 0.0], [0.0, 1.0]])
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # The first clip is right with 3 to 1; the second is of class 1 and given to class 0.
    loss = module(features, torch.tensor([[LOG3, 0.0], [LOG3, 0.0]]), torch.tensor([0, 1]))
    sure, pushed = math.log1p(math.exp(-8)), math.log1p(math.exp(-7.75))
    assert loss.item() == pytest.approx((3 * sure + pushed) / 2, rel=1e-4)


def test_bank_moves_by_a_tenth_to_the_mean_of_what_was_right():
    module = plain(CoarsePrototypes, 3, 2, [[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    features = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 9.0], [7.0, 7.0]])
    logits = torch.eye(3)[[0, 0, 1, 0]]
    module(features, logits, torch.tensor([0, 0, 2, 1]))
    torch.testing.assert_close(module.bank, torch.tensor([[1.1, 0.2], [0.0, 1.0], [5.0, 5.0]]))
    assert not module.bank.requires_grad


def test_fine_bank_takes_only_what_is_right_at_both_levels():
    module = plain(FinePrototypes, 2, 2, [[1.0, 0.0], [0.0, 1.0]])
    features, logits = torch.tensor([[3.0, 4.0], [0.0, 3.0]]), torch.eye(2)
    module(features, logits, torch.tensor([0, 1]), torch.tensor([True, False]))
    torch.testing.assert_close(module.bank, torch.tensor([[1.2, 0.4], [0.0, 1.0]]))


def test_bank_rests_in_evaluation():
    module = plain(FinePrototypes, 5, 6).eval()
    before = module.bank.clone()
    features, logits, labels = batch()
    module(features, logits, labels, torch.ones(24, dtype=torch.bool))
    assert torch.equal(module.bank, before)


@pytest.mark.parametrize("seed", range(3))
def test_coarse_loss_equals_loops(seed):
    torch.manual_seed(seed)
    module = plain(CoarsePrototypes, 5, 6)
    bank = module.bank.double().numpy().copy()
    features, logits, labels = batch()
    f, p, y = features.double().numpy(), logits.double().softmax(1).numpy(), labels.tolist()
    named = p.argmax(1)
    right = [(n, k) for n, k in enumerate(y) if named[n] == k]
    missed = [(n, k) for n, k in enumerate(y) if named[n] != k]
    taken = [(n, int(named[n])) for n, k in enumerate(y) if named[n] != k]
    after = slow_bank(f, bank, right)
    expected = slow_terms(f, after, p, y, [(missed, 1, 1.0), (taken, -1, 1.0)])
    assert module(features, logits, labels).item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(module.bank, after, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_fine_loss_equals_loops(seed):
    torch.manual_seed(seed)
    module = plain(FinePrototypes, 5, 6)
    bank = module.bank.double().numpy().copy()
    features, logits, labels = batch()
    coarse = torch.rand(24) < 0.5
    f, p, y = features.double().numpy(), logits.double().softmax(1).numpy(), labels.tolist()
    named = p.argmax(1)
    kinds = {key: [] for key in ((True, True), (True, False), (False, True), (False, False))}
    for n, k in enumerate(y):
        kinds[bool(coarse[n]), bool(named[n] == k)].append((n, k))
    taken = [(n, int(named[n])) for n, k in enumerate(y) if named[n] != k]
    after = slow_bank(f, bank, kinds[True, True])
    sets = [(kinds[True, False], 1, 1.0), (kinds[False, True], 1, 0.1), (kinds[False, False], 1, 0.5), (taken, -1, 1.0)]
    loss, diversity = module(features, logits, labels, coarse)
    assert loss.item() == pytest.approx(slow_terms(f, after, p, y, sets), rel=1e-5)
    cosines = [(unit(a) @ unit(b)) ** 2 for a in after for b in after]
    assert diversity.item() == pytest.approx(math.sqrt(sum(cosines)), rel=1e-5)


def test_diversity_is_least_for_prototypes_at_right_angles():
    module = plain(FinePrototypes, 52, 64, torch.eye(64)[:52].tolist()).eval()
    features, logits, labels = batch(4, 52, 64)
    _, diversity = module(features, logits, labels, torch.ones(4, dtype=torch.bool))
    assert diversity.item() == pytest.approx(math.sqrt(52), rel=1e-6)


def test_gradients_reach_features_layer_and_logits():
    module = plain(FinePrototypes, 5, 6)
    features, logits, labels = batch()
    features.requires_grad_()
    logits.requires_grad_()
    loss, diversity = module(features, logits, labels, torch.ones(24, dtype=torch.bool))
    (diversity_on_layer,) = torch.autograd.grad(diversity, module.embed.weight, retain_graph=True)
    assert diversity_on_layer.abs().sum() > 0
    loss.backward()
    for value in (features, logits, module.embed.weight, module.embed.bias):
        assert torch.isfinite(value.grad).all()
        assert value.grad.abs().sum() > 0


def test_features_of_zeros_keep_losses_and_gradients_finite():
    module = plain(FinePrototypes, 3, 4)
    features = torch.zeros(2, 4, requires_grad=True)
    loss, diversity = module(features, torch.eye(3)[:2], torch.tensor([1, 0]), torch.tensor([True, False]))
    (loss + diversity).backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(features.grad).all()


def test_similarity_is_a_cosine():
    module = plain(CoarsePrototypes, 2, 2, [[2.0, 0.0], [3.0, 3.0]])
    found = module.similarity(torch.tensor([[0.0, 5.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.0, math.sqrt(0.5)]]))


def of_ma52(fine_at, coarse_at, label):
    fine, coarse = torch.full((1, 52), -60.0), torch.full((1, 7), -60.0)
    fine[0, fine_at], coarse[0, coarse_at] = 60.0, 60.0
    target = torch.nn.functional.one_hot(torch.tensor([label]), 52).float()
    return tree_loss(fine, coarse, target, torch.tensor(MA52_COARSE)).item()


def test_tree_loss_of_published_sizes():
    zeros = tree_loss(torch.zeros(1, 52), torch.zeros(1, 7), torch.eye(52)[:1], torch.tensor(MA52_COARSE))
    assert zeros.item() == pytest.approx(4.02973, abs=1e-5)
    assert of_ma52(0, 0, 0) == pytest.approx(2.30380, abs=1e-5)
    assert of_ma52(51, 6, 0) == pytest.approx(4.28030, abs=1e-5)


def test_tree_loss_equals_the_sum_over_all_legal_states():
    coarse_of = [0, 1, 1, 2, 0]
    fine, coarse = torch.randn(4, 5), torch.randn(4, 3)
    states = [{c} for c in range(3)] + [{3 + f, c} for f, c in enumerate(coarse_of)]
    labels = [0, 2, 3, 4]
    targets = torch.nn.functional.one_hot(torch.tensor(labels), 5).float()
    found = tree_loss(fine, coarse, targets, torch.tensor(coarse_of))
    for n, label in enumerate(labels):
        s = [1 / (1 + math.exp(-x)) for x in [*coarse[n].tolist(), *fine[n].tolist()]]
        potentials = [math.exp(sum(s[i] for i in state)) for state in states]
        own = sum(p for p, state in zip(potentials, states, strict=True) if 3 + label in state)
        assert found[n].item() == pytest.approx(-math.log(own / sum(potentials)), rel=1e-5)


def test_legal_states_of_ma52():
    assert len(MA52_COARSE) == 52
    assert [MA52_COARSE.index(c) for c in range(7)] == [0, 5, 11, 24, 32, 38, 48]
    assert list(MA52_COARSE) == sorted(MA52_COARSE)
