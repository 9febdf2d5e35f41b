"""What surrounds the fits of classifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from neuroalign.analysis.classifiers import fit_classifier
from neuroalign.analysis.labels import LabelledTrials

if TYPE_CHECKING:
    import pytest


def blas_threads() -> list[int]:
    return [found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"]


def trials() -> LabelledTrials:
    random = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 12)
    features = random.normal(size=(24, 3, 2)) + (labels == "b")[:, None, None]
    return LabelledTrials(
        features=features, labels=labels, trials=np.arange(24), latent_names=("0", "1")
    )


def test_the_default_classifier_is_fitted_on_one_thread_and_gives_threads_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    fit = LogisticRegression.fit

    def watched(self: LogisticRegression, *args: object) -> LogisticRegression:
        seen.extend(blas_threads())
        return fit(self, *args)

    monkeypatch.setattr(LogisticRegression, "fit", watched)
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        fit_classifier([trials()], random=np.random.default_rng(0))
        assert blas_threads() == before
    assert len(seen) > 3
    assert set(seen) == {1}


def test_a_classifier_of_ones_own_keeps_its_threads() -> None:
    with threadpool_limits(2, "blas"):
        before = blas_threads()

        class Watched(LogisticRegression):
            def fit(self, *args: object) -> LogisticRegression:
                assert blas_threads() == before
                return super().fit(*args)

        fitted = fit_classifier([trials()], classifier=Watched(), random=np.random.default_rng(0))
    assert isinstance(fitted, Watched)
