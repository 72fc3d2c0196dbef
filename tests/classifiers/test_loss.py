"""The losses against a case worked by hand, and against torch where they must agree."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from classifiers.expression import LABELS
from classifiers.expression.training.loss import ALPHA, adaptive, cross_entropy, one_hot


def test_cross_entropy_is_torchs_with_its_label_smoothing() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(32, 7), torch.randint(0, 7, (32,))
    expected = F.cross_entropy(logits, labels, label_smoothing=0.05)
    assert cross_entropy(logits, one_hot(labels), 0.05).item() == pytest.approx(expected.item())


def test_the_adaptive_loss_of_a_face_worked_by_hand() -> None:
    """One face, p = (.4, .1, .1, .1, .1, .1, .1), true class angry, epsilon .05, gamma 2."""
    p = torch.tensor([[0.4] + [0.1] * 6])
    epsilon, classes = 0.05, 7
    on_label, elsewhere = 1 - epsilon * (1 - 1 / classes), epsilon / classes
    ce = -(on_label * math.log(0.4) + 6 * elsewhere * math.log(0.1))
    by_hand = 0.6 * (1 - math.exp(-ce)) ** 2 * ce
    got = adaptive(p.log(), one_hot(torch.tensor([LABELS.index("angry")])), epsilon)
    assert got.item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("label", LABELS)
def test_each_class_counts_by_its_alpha(label: str) -> None:
    """Equal logits make every class equally hard, so that only alpha tells them apart."""
    targets = one_hot(torch.tensor([LABELS.index(label)]))
    neutral = one_hot(torch.tensor([LABELS.index("neutral")]))
    logits = torch.zeros(1, 7)
    ratio = adaptive(logits, targets, 0.05) / adaptive(logits, neutral, 0.05)
    assert ratio.item() == pytest.approx(ALPHA[label] / ALPHA["neutral"])


def test_a_mixed_target_has_the_mean_of_its_classes_alphas() -> None:
    half = (one_hot(torch.tensor([1])) + one_hot(torch.tensor([3]))) / 2
    one = one_hot(torch.tensor([1]))
    ratio = adaptive(torch.zeros(1, 7), half, 0.0) / adaptive(torch.zeros(1, 7), one, 0.0)
    assert ratio.item() == pytest.approx((ALPHA["disgust"] + ALPHA["happy"]) / 2 / ALPHA["disgust"])


def test_easy_faces_hardly_count() -> None:
    labels = torch.tensor([3])
    easy, hard = torch.zeros(1, 7), torch.zeros(1, 7)
    easy[0, 3], hard[0, 3] = 6.0, -1.0
    plain = cross_entropy(hard, one_hot(labels), 0.0) / cross_entropy(easy, one_hot(labels), 0.0)
    focused = adaptive(hard, one_hot(labels), 0.0) / adaptive(easy, one_hot(labels), 0.0)
    assert focused > 100 * plain
