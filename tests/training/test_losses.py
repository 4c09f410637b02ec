"""The losses against the paper's formulas, written out once more in float64 numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agebench.recipes import Loss
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
