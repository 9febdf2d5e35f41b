"""Reading labels and regressing latents: against scikit-learn, and the choice of penalties."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from neuroalign.translation import (
    PENALTIES,
    STRENGTHS,
    _held_out_loss,
    fit_label_reader,
    fit_translation,
)


def latents(
    seed: int, trials: int = 60, labels: int = 3, separation: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = np.arange(trials) % labels
    centres = rng.normal(size=(labels, 4, 2)) * separation
    return centres[codes] + rng.normal(size=(trials, 4, 2)), codes


@pytest.mark.parametrize("labels", [2, 3])
def test_label_reader_is_a_logistic_regression_with_a_held_out_penalty(labels: int) -> None:
    mean, codes = latents(0, labels=labels)
    held = np.zeros(60, dtype=bool)
    held[::4] = True
    reader = fit_label_reader(mean, codes, labels, held)
    features = (mean.reshape(60, -1) - reader.centre) / reader.spread
    losses = {}
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=500).fit(features[~held], codes[~held])
        losses[strength] = -np.log(
            model.predict_proba(features[held])[np.arange(held.sum()), codes[held]]
        ).sum()
    best = min(losses, key=losses.get)  # type: ignore[arg-type]
    expected = LogisticRegression(C=best, max_iter=500).fit(features, codes).predict_proba(features)
    np.testing.assert_allclose(reader(mean), expected, atol=1e-6)


def test_noise_is_read_as_chance_and_absent_labels_get_nothing() -> None:
    rng = np.random.default_rng(1)
    mean, codes = rng.normal(size=(90, 4, 2)), np.arange(90) % 3
    reader = fit_label_reader(mean, codes, 4, np.zeros(90, dtype=bool))
    probability = reader(rng.normal(size=(50, 4, 2)))
    assert (probability[:, 3] == 0).all()
    np.testing.assert_allclose(probability.sum(1), 1.0)
    # chance is log 3 = 1.10; a reader that believed its training trials would be far above
    assert -np.log(probability[np.arange(50), np.arange(50) % 3]).mean() < 1.25


def test_one_label_is_certain() -> None:
    reader = fit_label_reader(np.zeros((5, 2, 1)), np.full(5, 1), 2, np.zeros(5, dtype=bool))
    assert reader(np.ones((2, 2, 1))).tolist() == [[0.0, 1.0], [0.0, 1.0]]


def test_folds_serve_where_no_trial_was_held_out() -> None:
    mean, codes = latents(2, separation=3.0)
    loss = _held_out_loss(mean.reshape(60, -1), codes, np.zeros(60, dtype=bool))
    assert loss(1e-4) > loss(0.1)


@pytest.mark.parametrize("held_out", [0, 20])
def test_translation_is_a_ridge_regression(held_out: int) -> None:
    rng = np.random.default_rng(3)
    source = rng.normal(size=(80, 3, 2))
    target = np.einsum("twd,de->twe", source, rng.normal(size=(2, 2))) + rng.normal(size=(80, 3, 2))
    held = np.arange(80) < held_out
    translation = fit_translation(source, target, held)
    x, y = source.reshape(80, -1), target.reshape(80, -1)
    unit = np.square(x - x.mean(0)).sum() / x.shape[1]
    expected = Ridge(alpha=translation.penalty * unit).fit(x, y).predict(x)
    np.testing.assert_allclose(translation(source).reshape(80, -1), expected, atol=1e-8)
    assert translation.penalty in PENALTIES


def test_the_penalty_minimises_the_error_of_left_out_trials() -> None:
    rng = np.random.default_rng(4)
    source = rng.normal(size=(30, 2, 4))
    target = source[..., ::-1] * 0.5 + 2 * rng.normal(size=(30, 2, 4))
    chosen = fit_translation(source, target, np.zeros(30, dtype=bool)).penalty
    x, y = source.reshape(30, -1), target.reshape(30, -1)
    unit = np.square(x - x.mean(0)).sum() / x.shape[1]
    errors = []
    for penalty in PENALTIES:
        error = 0.0
        for i in range(30):
            rest = np.arange(30) != i
            error += np.square(
                Ridge(alpha=penalty * unit).fit(x[rest], y[rest]).predict(x[i : i + 1]) - y[i]
            ).sum()
        errors.append(error)
    best = PENALTIES[int(np.argmin(errors))]
    assert (
        abs(np.log10(chosen / best)) <= 0.51
    )  # neighbours on the grid: the centre is refitted there


def test_unrelated_latents_translate_to_the_mean() -> None:
    rng = np.random.default_rng(5)
    source, target = rng.normal(size=(200, 2, 2)), rng.normal(size=(200, 2, 2)) + 3.0
    translated = fit_translation(source, target, np.arange(200) < 60)(source)
    np.testing.assert_allclose(
        translated, np.broadcast_to(target.mean(0), translated.shape), atol=0.5
    )
