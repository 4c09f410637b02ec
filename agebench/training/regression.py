"""What several methods fit: a projection onto principal components, and support vector machines kept as plain arrays.

scikit-learn fits, NumPy predicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agebench.training.features import Advance, Faces, Floats, extract

Parameters = dict[str, NDArray[Any]]
Doubles = NDArray[np.float64]
PCA_FACES = 10_000  # components are found on so many faces, drawn at random
KERNEL_FACES = 10_000  # a kernel machine is fitted on so many, for its time grows with their square


def sample(count: int, most: int, seed: int, weights: Doubles | None = None) -> NDArray[np.int64]:
    """At most `most` of the indices 0..count-1 in order, drawn without replacement; heavier ones sooner."""
    if count <= most:
        return np.arange(count)
    shares = None if weights is None else weights / weights.sum()
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False, p=shares))


def sample_with_counts(most: int, seed: int, weights: Doubles) -> tuple[NDArray[np.int64], Doubles]:
    """At most `most` of the faces, and how much each counts: its weight, or 1 where faces were drawn by weight."""
    drawn = sample(len(weights), most, seed, weights)
    return drawn, weights if len(drawn) == len(weights) else np.ones(len(drawn))


def fit_projection(
    feature: str, faces: Faces, components: int, seed: int, on_progress: Advance | None
) -> tuple[Parameters, Floats]:
    """The mean and axes of the principal components of a feature, and all faces on them, (N, components).

    There are fewer components where there are fewer faces.
    """
    drawn = sample(len(faces), PCA_FACES, seed)
    part = extract(feature, faces.take(drawn), on_progress=on_progress)
    projection = principal_components(part, components, seed)
    if len(drawn) == len(faces):
        return projection, onto(projection, part)
    return projection, project(feature, faces, projection, on_progress)


def principal_components(features: Floats, components: int, seed: int) -> Parameters:
    """The mean and axes of the principal components of features (N, D), as arrays for `onto`; found on at most
    PCA_FACES of them.

    Each dimension is standardised first: else the coarsest filters, whose responses vary most, decide. The axes are
    scaled so that a projected face has a mean square of 1 in all: a kernel's gamma then means the same for
    every feature.
    """
    from sklearn.decomposition import PCA

    part = features[sample(len(features), PCA_FACES, seed)]
    count = min(components, len(part) - 1, part.shape[1])
    mean, spread = part.mean(axis=0), np.maximum(part.std(axis=0), 1e-6)
    pca = PCA(count, svd_solver="randomized", random_state=seed).fit((part - mean) / spread)
    axes = pca.components_ / np.sqrt(pca.explained_variance_.sum()) / spread
    return {"mean": mean, "axes": np.ascontiguousarray(axes, np.float32)}


def project(
    feature: str, faces: Faces, projection: Mapping[str, NDArray[Any]], on_progress: Advance | None = None
) -> Floats:
    """Faces on the axes of `fit_projection`, (N, components)."""
    return extract(feature, faces, lambda batch: onto(projection, batch), on_progress=on_progress)


def onto(projection: Mapping[str, NDArray[Any]], features: Floats) -> Floats:
    """Features (N, D) on the axes of `principal_components`, (N, components)."""
    return np.asarray((features - projection["mean"]) @ projection["axes"].T, np.float32)


def rbf(points: NDArray[Any], centres: NDArray[Any], gamma: float) -> Doubles:
    """exp(-gamma · squared distance): (N, M) of (N, d) and (M, d)."""
    x, c = np.asarray(points, np.float64), np.asarray(centres, np.float64)
    squared = (x**2).sum(1)[:, None] + (c**2).sum(1) - 2 * x @ c.T
    return np.exp(-gamma * np.maximum(squared, 0))


def fit_svr(
    points: NDArray[Any], ages: NDArray[Any], weights: Doubles, *, c: float, gamma: float, epsilon: float, seed: int
) -> Parameters:
    """Support vector regression with an RBF kernel on points (N, d), as arrays for `machine`.

    Fitted on at most KERNEL_FACES of them, drawn by weight where there are more.
    """
    from sklearn.svm import SVR

    drawn, counts = sample_with_counts(KERNEL_FACES, seed, weights)
    fitted = SVR(C=c, gamma=gamma, epsilon=epsilon, cache_size=1000)
    return _arrays(fitted.fit(points[drawn], ages[drawn], sample_weight=counts / counts.mean()), gamma)


def fit_svc(
    points: NDArray[Any], above: NDArray[np.bool_], weights: Doubles, *, c: float, gamma: float, seed: int
) -> Parameters:
    """A support vector classifier as arrays for `machine`, above 0 where a point is more likely `above`."""
    from sklearn.svm import SVC

    drawn, counts = sample_with_counts(KERNEL_FACES, seed, weights)
    fitted = SVC(C=c, gamma=gamma, class_weight="balanced", cache_size=1000)
    return _arrays(fitted.fit(points[drawn], above[drawn], sample_weight=counts / counts.mean()), gamma)


def _arrays(fitted: Any, gamma: float) -> Parameters:
    return {
        "support": np.ascontiguousarray(fitted.support_vectors_, np.float32),
        "dual": np.ascontiguousarray(fitted.dual_coef_[0], np.float64),
        "intercept": np.asarray(fitted.intercept_, np.float64),
        "gamma": np.array([gamma]),
    }


def machine(parameters: Mapping[str, NDArray[Any]], points: NDArray[Any]) -> Doubles:
    """What a support vector machine says of points (N, d): (N,)."""
    kernel = rbf(points, parameters["support"], float(parameters["gamma"][0]))
    return np.asarray(kernel @ parameters["dual"] + parameters["intercept"][0])


def group_bounds(ages: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """The last age of each of at most so many groups but the last one, so that each has about as many of the ages."""
    bounds = np.unique(np.quantile(ages, np.arange(1, groups) / groups).astype(np.int64))
    return bounds[bounds < ages.max()]


def under(name: str, parameters: Mapping[str, NDArray[Any]]) -> Parameters:
    """The arrays with `name.` before their names; `inside` takes them out again."""
    return {f"{name}.{key}": value for key, value in parameters.items()}


def inside(name: str, parameters: Mapping[str, NDArray[Any]]) -> Parameters:
    """The arrays whose names begin with `name.`, without it."""
    return {key.removeprefix(f"{name}."): value for key, value in parameters.items() if key.startswith(f"{name}.")}


def within_range(ages: Doubles) -> Doubles:
    """Ages drawn into 0..99, beyond which a regression may go."""
    return np.clip(ages, 0, 99)
