"""Classical methods: against plain scikit-learn, against their definitions, and on faces without any signal."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from agebench import registry
from agebench.errors import RecipeError
from agebench.training import regression
from agebench.training.features import Faces, extract
from agebench.training.features.bif import BANDS, filters, pool
from agebench.training.methods import make_method
from agebench.training.methods.ca_svr import CaSvr, cross_fitted, cumulative, fit_ridge
from agebench.training.methods.dif import hierarchy, informative
from agebench.training.methods.ohrank import costs, rank
from agebench.training.regression import fit_svc, fit_svr, machine
from agebench.training.resolve import resolve_recipe

METHODS = registry.names("methods")
SHORT: dict[str, dict[str, Any]] = {"dla": {"method.steps": 80, "method.batch": 16}, "deep-rank": {"method.steps": 400}}


@cache
def faces_and_ages(count: int, signal: bool, seed: int = 0) -> tuple[Faces, NDArray[np.int64]]:
    """Faces (48 pixels) with stripes whose direction and width follow the age, or do not."""
    rng = np.random.default_rng(seed)
    ages = rng.integers(5, 70, count)
    shown = ages if signal else rng.integers(5, 70, count)
    y, x = np.mgrid[:48, :48]
    pictures = np.empty((count, 48, 48, 3), np.uint8)
    for i, age in enumerate(shown):
        angle = np.pi * age / 90
        stripes = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (0.4 + age / 60))
        pictures[i] = np.clip(128 + 60 * stripes[..., None] + rng.normal(0, 12, (48, 48, 3)), 0, 255)
    return Faces(pictures, np.arange(count)), ages


@cache
def faces_with_features(name: str, count: int, signal: bool, seed: int = 0) -> tuple[Faces, NDArray[np.int64]]:
    """`faces_and_ages` with what a method reads of them already extracted, once for all tests."""
    faces, ages = faces_and_ages(count, signal, seed)
    feature = getattr(make_method(resolve_recipe(name).method), "features", None)  # type: ignore[attr-defined]
    return (with_feature(count, signal, seed, feature) if feature else faces), ages


@cache
def with_feature(count: int, signal: bool, seed: int, feature: str) -> Faces:
    return faces_and_ages(count, signal, seed)[0].with_features(feature)


def fitted(name: str, faces: Faces, ages: NDArray[np.int64], weights: NDArray[np.float64] | None = None) -> Any:
    recipe = resolve_recipe(name, SHORT.get(name))
    method = make_method(recipe.method)  # type: ignore[attr-defined]
    parameters = method.fit(faces, ages, weights=np.ones(len(ages)) if weights is None else weights, seed=0)
    return method, parameters


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_what_can_be_learnt(name: str) -> None:
    if name == "median":
        pytest.skip("the median learns nothing")
    faces, ages = faces_with_features(name, 160, signal=True)
    method, parameters = fitted(name, faces, ages)
    new, truth = faces_with_features(name, 80, signal=True, seed=1)
    predicted, _ = method.predict(parameters, new)
    assert np.abs(predicted - truth).mean() < 0.5 * np.abs(np.median(ages) - truth).mean()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_makes_no_more_of_noise_than_the_median_by_far(name: str) -> None:
    faces, ages = faces_with_features(name, 160, signal=False)
    method, parameters = fitted(name, faces, ages)
    new, truth = faces_with_features(name, 80, signal=False, seed=1)
    predicted, _ = method.predict(parameters, new)
    # DIF puts each face into one age group, and of noise into a random one: 4/3 of the median's error for even ages
    assert np.abs(predicted - truth).mean() < (1.6 if name == "dif" else 1.35) * np.abs(np.median(ages) - truth).mean()
    assert predicted.min() >= 0
    assert predicted.max() <= 99


@pytest.mark.parametrize("name", METHODS)
def test_equal_seeds_give_equal_arrays_that_safetensors_keeps(name: str) -> None:
    from safetensors.numpy import load, save

    faces, ages = faces_with_features(name, 40, signal=True)
    method, first = fitted(name, faces, ages)
    again = fitted(name, faces, ages)[1]
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[key], again[key]) for key in first)
    kept = load(save({key: np.ascontiguousarray(value) for key, value in first.items()}))
    assert np.array_equal(method.predict(kept, faces)[0], method.predict(first, faces)[0])


@pytest.mark.parametrize("name", [name for name in METHODS if name != "dif"])
def test_a_copy_counts_like_a_weight(name: str) -> None:
    """The copies of a balance plan are weights, so a heavy group pulls the prediction towards it."""
    faces, _ = faces_with_features(name, 40, signal=True)
    ages = np.where(np.arange(40) % 2, 20, 60)
    young = np.where(ages == 20, 50.0, 1.0)
    predicted = [fitted(name, faces, ages, weights) for weights in (young, young[::-1])]
    low, high = (method.predict(parameters, faces)[0].mean() for method, parameters in predicted)
    assert low < high


def test_svr_is_at_least_as_good_as_plain_scikit_learn_on_the_same_features() -> None:
    faces, ages = faces_with_features("svr", 160, signal=True)
    new, truth = faces_with_features("svr", 80, signal=True, seed=1)
    train, test = extract("bif", faces), extract("bif", new)
    plain = make_pipeline(StandardScaler(), SVR()).fit(train, ages).predict(test)
    method, parameters = fitted("svr", faces, ages)
    ours, _ = method.predict(parameters, new)
    assert np.abs(ours - truth).mean() <= np.abs(plain - truth).mean()


def test_the_machines_arrays_predict_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(0)
    points, ages = rng.normal(size=(120, 5)), rng.integers(0, 90, 120)
    weights = rng.uniform(0.5, 2, 120)
    ours = machine(fit_svr(points, ages, weights, c=10, gamma=0.3, epsilon=1, seed=0), points)
    theirs = SVR(C=10, gamma=0.3, epsilon=1).fit(points, ages, sample_weight=weights / weights.mean())
    assert np.allclose(ours, theirs.predict(points), atol=1e-6)
    ours = machine(fit_svc(points, ages > 40, weights, c=10, gamma=0.3, seed=0), points)
    other = SVC(C=10, gamma=0.3).fit(points, ages > 40, sample_weight=weights / weights.mean())
    assert np.allclose(ours, other.decision_function(points), atol=1e-6)


def test_the_projection_is_scikit_learns_but_for_scale_and_sign() -> None:
    faces, _ = faces_and_ages(40, signal=True)
    features = extract("hog", faces).astype(np.float64)
    _, points = regression.fit_projection("hog", faces, 5, 0, None)
    scaled = (features - features.mean(0)) / np.maximum(features.std(0), 1e-6)
    theirs = PCA(5, svd_solver="full").fit_transform(scaled)
    for ours, other in zip(points.T, theirs.T, strict=True):
        assert abs(np.corrcoef(ours, other)[0, 1]) > 0.999


def test_cumulative_attributes_count_the_years() -> None:
    assert cumulative(np.array([0, 1, 45, 99])).sum(axis=1).tolist() == [0, 1, 45, 99]


def test_the_ridge_of_attributes_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    points, targets = rng.normal(size=(50, 4)), rng.normal(size=(50, 3))
    ours = fit_ridge(points, targets, np.ones(50), 0.1)
    theirs = Ridge(alpha=0.1 * 50 / 4).fit(points, targets)
    assert np.allclose(ours["coefficients"], theirs.coef_.T)
    assert np.allclose(ours["intercept"], theirs.intercept_)


def test_cross_fitted_attributes_do_not_know_their_own_face() -> None:
    rng = np.random.default_rng(0)
    points, targets = rng.normal(size=(60, 40)), rng.normal(size=(60, 1))
    ridge = fit_ridge(points, targets, np.ones(60), 1e-3)
    own = points @ ridge["coefficients"] + ridge["intercept"]
    crossed = cross_fitted(points, targets, np.ones(60), 1e-3, seed=0)
    assert np.corrcoef(own[:, 0], targets[:, 0])[0, 1] > 0.7
    assert np.corrcoef(crossed[:, 0], targets[:, 0])[0, 1] < 0.3


def test_ohrank_costs_are_the_years_that_a_mistake_moves_the_rank() -> None:
    assert costs(np.array([10, 20, 21, 30]), 20).tolist() == [11, 1, 1, 10]  # Chang et al. 2011, eq. 5
    assert rank(np.array([[1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]]), 5).tolist() == [7, 5]


def test_dif_asks_from_the_root_to_one_group() -> None:
    assert hierarchy(3) == [(0, 1, 3), (0, 0, 1), (2, 2, 3)]
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 30)).astype(np.float32)
    ages = 40 + 10 * features[:, 7] - 5 * features[:, 21]
    assert {7, 21} <= set(informative(features, ages, np.ones(200), 20).tolist())


def test_bif_has_the_bands_of_its_source() -> None:
    made = filters()
    assert len(made) == 8 * 8  # eight bands, eight orientations
    assert all(abs(float(kernel.sum())) < 1e-4 for _, first, second in made for kernel in (first, second))
    assert all(abs(float((kernel**2).sum()) - 1) < 1e-4 for _, first, second in made for kernel in (first, second))
    assert [cell for cell, *_ in BANDS] == [6, 8, 10, 12, 14, 16, 18, 20]


def test_bif_pools_the_larger_response_by_its_standard_deviation() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 60, 60)).astype(np.float32)
    found = pool(first, second, 6)
    larger = np.maximum(first, second)
    by_hand = [larger[y : y + 6, x : x + 6].std() for y in range(0, 55, 3) for x in range(0, 55, 3)]
    assert np.allclose(found, by_hand, atol=1e-4)


def test_an_unknown_setting_of_a_method_is_refused_before_and_after_torch() -> None:
    with pytest.raises(RecipeError, match="components"):
        resolve_recipe("svr", {"method.component": 3})
    with pytest.raises(RecipeError, match="features"):
        resolve_recipe("svr", {"method.features": "sift"})
    assert registry.setting_names("methods", "ca-svr") == [
        "features", "components", "penalty", "c", "gamma", "epsilon",
    ]  # fmt: skip
    assert CaSvr(features="hog").features == "hog"
