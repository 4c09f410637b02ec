"""The losses against the paper's formulas, written out once more in float64 numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agebench.errors import RecipeError
from agebench.recipes import Loss
from agebench.training.decoding import decoding_of, median_age
from agebench.training.losses import make_loss
from agebench.training.losses.cross_entropy import cross_entropy_loss
from agebench.training.losses.neighborhood import neighborhood_loss, neighborhood_target


def by_hand(logits, ages, sigma, normalised, two_sigma_squared, reduction):
    """Values and gradients of eq. 5, term by term."""
    total, gradient = 0.0, np.zeros_like(logits)
    for n, age in enumerate(ages):
        y = np.exp(logits[n] - logits[n].max())
        y /= y.sum()
        d = np.array([math.exp(-((k - age) ** 2) / (sigma**2 * (2 if two_sigma_squared else 1))) for k in range(100)])
        if normalised:
            d /= d.sum()
        total -= sum(d[k] * math.log(y[k]) for k in range(100))
        gradient[n] = d.sum() * y - d
    share = 1 / len(ages) if reduction == "mean" else 1
    return total * share, gradient * share


@settings(max_examples=60, deadline=None)
@given(
    ages=st.lists(st.one_of(st.sampled_from([0, 99]), st.integers(0, 99)), min_size=1, max_size=5),
    sigma=st.floats(0.5, 20),
    normalised=st.booleans(),
    two_sigma_squared=st.booleans(),
    reduction=st.sampled_from(["mean", "sum"]),
    seed=st.integers(0, 1000),
)
def test_the_neighborhood_loss_and_its_gradient_are_equation_5(
    ages, sigma, normalised, two_sigma_squared, reduction, seed
):
    values = np.random.default_rng(seed).normal(0, 3, (len(ages), 100))
    expected, gradient = by_hand(values, ages, sigma, normalised, two_sigma_squared, reduction)
    logits = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    options = {"normalised": normalised, "two_sigma_squared": two_sigma_squared, "reduction": reduction}
    loss = neighborhood_loss(logits, torch.tensor(ages), sigma=sigma, **options)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(logits.grad.numpy(), gradient, rtol=1e-5, atol=1e-6 * max(1, np.abs(gradient).max()))
    exact = torch.tensor(values, requires_grad=True)
    neighborhood_loss(exact, torch.tensor(ages), sigma=sigma, **options).backward()
    np.testing.assert_allclose(exact.grad.numpy(), gradient, rtol=1e-6, atol=1e-6 * max(1, np.abs(gradient).max()))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("ages", [[0], [99], [0, 99, 42]])
def test_the_cross_entropy_and_its_gradient_are_equation_2(ages, reduction):
    values = np.random.default_rng(0).normal(0, 3, (len(ages), 100))
    y = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    share = 1 / len(ages) if reduction == "mean" else 1
    logits = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    loss = cross_entropy_loss(logits, torch.tensor(ages), reduction=reduction)
    loss.backward()
    assert loss.item() == pytest.approx(-sum(math.log(y[n, a]) for n, a in enumerate(ages)) * share, rel=1e-6)
    np.testing.assert_allclose(logits.grad.numpy(), (y - np.eye(100)[ages]) * share, atol=1e-6)


def test_the_target_sums_to_sigma_root_pi_inside_and_about_half_of_it_at_the_ends():
    sums = neighborhood_target(torch.tensor([0, 50, 99]), sigma=5.0).sum(1)
    assert sums[1].item() == pytest.approx(5 * math.sqrt(math.pi), rel=1e-4)
    assert sums[0].item() == pytest.approx(sums[2].item())
    assert sums[0].item() == pytest.approx((5 * math.sqrt(math.pi) + 1) / 2, rel=1e-4)


def test_extreme_scores_give_a_finite_loss():
    logits = torch.zeros(1, 100)
    logits[0, 3] = 1e4
    assert math.isfinite(neighborhood_loss(logits, torch.tensor([90])).item())


def test_half_precision_scores_are_computed_in_single_precision():
    logits = torch.randn(4, 100, generator=torch.Generator().manual_seed(0)).bfloat16()
    ages = torch.tensor([0, 10, 50, 99])
    assert neighborhood_loss(logits, ages).dtype == torch.float32
    assert neighborhood_loss(logits, ages).item() == neighborhood_loss(logits.float(), ages).item()


def test_a_recipe_chooses_the_loss_and_its_options():
    logits, ages = torch.randn(3, 100, generator=torch.Generator().manual_seed(1)), torch.tensor([1, 2, 98])
    chosen = make_loss(Loss(name="neighborhood", sigma=3, normalised=True, two_sigma_squared=True, reduction="sum"))
    expected = neighborhood_loss(logits, ages, sigma=3, normalised=True, two_sigma_squared=True, reduction="sum")
    assert chosen(logits, ages) == expected
    assert make_loss(Loss(name="cross-entropy"))(logits, ages) == cross_entropy_loss(logits, ages)


# Three rows of scores and their ages, and what the code of Paplhám and Franc's benchmark (CVPR 2024) gives for them;
# for OR-CNN in double precision.
SCORES = torch.stack([torch.sin(0.37 * torch.arange(100) + i) * (2 + i) for i in range(3)])
AGES = torch.tensor([0, 37, 99])
BENCHMARK = [
    ("cross-entropy", {}, 4.279545),
    ("dldl", {"sigma": 2.0}, 4.748892),
    ("dldl-v2", {"sigma": 2.0, "expectation": 1.0}, 39.865856),
    ("mean-variance", {"mean": 0.2, "variance": 0.05}, 204.790527),
    ("sord", {"squared": False}, 4.479126),
    ("sord", {"squared": True}, 4.344660),
    ("unimodal-concentrated", {"unimodal": 1000.0}, 232.477951),
    ("unimodal-concentrated", {"unimodal": 0.0}, 4.361678),
    ("or-cnn", {}, 113.887137),
]


@pytest.mark.parametrize(("name", "options", "value"), BENCHMARK)
def test_a_rival_loss_gives_the_benchmarks_value(name, options, value):
    assert make_loss(Loss(name=name, **options))(SCORES, AGES).item() == pytest.approx(value, rel=1e-5)


# The examples of the authors' package coral-pytorch, of five classes: shown to the losses as ages that answer only the
# first four thresholds, the others being certain.
FIVE = torch.tensor([[2.1, 1.8, -2.1, -1.8], [1.9, -1.0, -1.5, -1.3], [1.9, 1.8, 1.7, 1.6]])


def with_certain_thresholds(scores):
    return torch.cat([scores, torch.full((len(scores), 96), -50.0)], 1)


def test_the_authors_example_of_coral():
    """Levels 1100, 1000, 1111 are the ages 2, 1, 4; the authors give 0.6920 for the mean of the sums."""
    loss = make_loss(Loss(name="or-cnn"))(with_certain_thresholds(FIVE), torch.tensor([2, 1, 4]))
    assert loss.item() == pytest.approx(0.6920, abs=1e-4)


def test_the_authors_example_of_corn():
    """They give 0.9657 for the sum over the batch, divided by 5 classes; here it is by 100 classes and 3 rows."""
    loss = make_loss(Loss(name="corn"))(with_certain_thresholds(FIVE), torch.tensor([0, 1, 2]))
    assert loss.item() * 100 * 3 / 5 == pytest.approx(0.9657, abs=1e-4)


def test_regression_by_hand():
    """Scores of -0.6, 0 and 0.2 are 20, 50 and 60 years: 3 too young, 10 too old, right."""
    scores, ages = torch.zeros(3, 100), torch.tensor([23, 40, 60])
    scores[:, 0] = torch.tensor([-0.6, 0.0, 0.2])
    given = {norm: make_loss(Loss(name="regression", norm=norm))(scores, ages).item() for norm in ("l1", "l2", "huber")}
    assert given["l1"] == pytest.approx(13 / 3, rel=1e-5)
    assert given["l2"] == pytest.approx((9 + 100) / 2 / 3, rel=1e-5)
    assert given["huber"] == pytest.approx((9 / 2 + 5 * (10 - 2.5)) / 3, rel=1e-5)


DECODED = ["cross-entropy", "neighborhood", "dldl", "mean-variance", "sord", "unimodal-concentrated", "or-cnn", "corn"]


@pytest.mark.parametrize("name", [*DECODED, "regression", "dldl-v2"])
def test_scores_trained_by_a_loss_are_decoded_to_the_ages(name):
    """Free scores, moved by plain Adam until they cost least, say the ages that they were trained on."""
    ages, loss_of = torch.tensor([0, 3, 40, 99]), make_loss(Loss(name=name))
    scores = torch.zeros(4, 100, requires_grad=True)
    optimiser = torch.optim.Adam([scores], 0.3)
    for step in range(1500):
        for group in optimiser.param_groups:
            group["lr"] = 0.3 * (1 - step / 1500) / (30 if name == "regression" else 1)
        optimiser.zero_grad()
        loss_of(scores, ages).backward()
        optimiser.step()
    decoding = decoding_of(Loss(name=name))
    found = decoding.ages(scores.detach())
    cut_off = {"neighborhood": 3.5, "dldl": 1.5}  # the mean of a Gaussian around 0 that has no negative years
    assert (found - ages).abs().max() < cut_off.get(name, 1.2)
    if decoding.probabilities is None:
        assert name == "regression"
        return
    shares = decoding.probabilities(scores.detach())
    assert shares.shape == (4, 100)
    torch.testing.assert_close(shares.sum(1), torch.ones(4))
    assert (shares >= 0).all()
    torch.testing.assert_close(shares @ torch.arange(100.0), found, atol=0.05, rtol=0)


def test_thresholds_by_hand():
    """Older than 0 with 0.9, than 1 with 0.6 (given that, for CORN), than 2 with 0.2: the ages and their shares."""
    odds = torch.tensor([[0.9, 0.6, 0.2]]).logit()
    scores = torch.cat([odds, torch.full((1, 97), -80.0)], 1)
    plain, in_turn = decoding_of(Loss(name="or-cnn")), decoding_of(Loss(name="corn"))
    assert plain.ages(scores).item() == pytest.approx(1.7, rel=1e-5)
    assert plain.probabilities(scores)[0, :4].tolist() == pytest.approx([0.1, 0.3, 0.4, 0.2], rel=1e-5)
    assert in_turn.ages(scores).item() == pytest.approx(0.9 + 0.54 + 0.108, rel=1e-5)
    assert in_turn.probabilities(scores)[0, :4].tolist() == pytest.approx([0.1, 0.36, 0.432, 0.108], rel=1e-5)


def test_thresholds_that_contradict_each_other_give_no_negative_probability():
    odds = torch.tensor([[0.5, 0.8, 0.2]]).logit()
    shares = decoding_of(Loss(name="or-cnn")).probabilities(torch.cat([odds, torch.full((1, 97), -80.0)], 1))[0, :4]
    assert shares.tolist() == pytest.approx([0.5 / 1.3, 0, 0.6 / 1.3, 0.2 / 1.3], rel=1e-5)


def test_the_median_halves_a_distribution():
    shares = torch.zeros(4, 100)
    shares[0, 30] = 1  # one age: that age
    shares[1, [20, 40]] = 0.5  # half on either side: where the younger ends
    shares[2] = 0.01
    shares[3, [10, 90]] = torch.tensor([0.6, 0.4])
    assert median_age(shares).tolist() == pytest.approx([30, 20.5, 49.5, 10.333], abs=1e-2)
    numbers = np.random.default_rng(0).normal(33.3, 6, 200_000).clip(0, 99)
    drawn = torch.from_numpy(np.bincount(np.round(numbers).astype(int), minlength=100) / len(numbers)).float()
    assert median_age(drawn.unsqueeze(0)).item() == pytest.approx(np.median(numbers), abs=0.1)


def test_a_recipe_chooses_the_mean_or_the_median():
    scores = torch.full((1, 100), -20.0)
    scores[0, [10, 90]] = torch.tensor([0.6, 0.4]).log()
    mean, median = (decoding_of(Loss(name="cross-entropy", age=age)).ages(scores).item() for age in ("mean", "median"))
    assert mean == pytest.approx(42, abs=0.01)
    assert median == pytest.approx(10.33, abs=0.01)
    assert 0 < decoding_of(Loss(name="or-cnn", age="median")).ages(torch.randn(1, 100)).item() < 99
    with pytest.raises(RecipeError, match="no distribution"):
        decoding_of(Loss(name="regression", age="median"))
