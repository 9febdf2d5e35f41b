"""From one subject's latents to what another's would have been: the step before imputing.

Latents of different subjects are tied softly, so a source's latent still carries noise and what
is the source's own. What it says about a *target* is an expectation over the trials that stand
beside it: over labels, weighted by what the source's whole trial says about the label. Subjects
recorded together share more than the label, so there the target's deviations from its averages
are regressed on the source's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

# ridge penalties, relative to the mean variance of the features
PENALTIES: Final[Sequence[float]] = tuple(np.geomspace(1e-3, 1e3, 13))


# inverse penalties of the label reader
STRENGTHS: Final[Sequence[float]] = tuple(np.geomspace(1e-4, 1.0, 9))


@dataclass(frozen=True)
class LabelReader:
    """Reads from the latents of a whole trial how probable each label is.

    Attributes
    ----------
    centre, spread : ndarray of shape (feature,)
        Mean and standard deviation of the training latents.
    weights : ndarray of shape (feature, label)
        Multinomial logistic regression.
    intercept : ndarray of shape (label,)
        Its intercept.
    """

    centre: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    intercept: np.ndarray

    def __call__(self, mean: np.ndarray) -> np.ndarray:
        """Return the probability of each label, (trial, label), from (trial, window, latent)."""
        from scipy.special import softmax

        features = (mean.reshape(len(mean), -1) - self.centre) / self.spread
        return np.asarray(softmax(features @ self.weights + self.intercept, axis=1))


def fit_label_reader(
    mean: np.ndarray, codes: np.ndarray, n_labels: int, held_out: np.ndarray
) -> LabelReader:
    """Fit a label reader to a subject's training latents.

    Encoders know their training trials too well, so the penalty is chosen on trials that were
    held out of their training where there are any, and by folds of trials otherwise.

    Parameters
    ----------
    mean : ndarray of shape (trial, window, latent)
        Training latents.
    codes : ndarray of int, (trial,)
        Each trial's label, as a number below `n_labels`.
    n_labels : int
        How many labels there are; one that never occurs gets probability zero.
    held_out : ndarray of bool, (trial,)
        Trials that the encoder was not trained on.
    """
    features = mean.reshape(len(mean), -1).astype(float)
    centre, spread = features.mean(0), features.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    features = (features - centre) / spread
    weights = np.zeros((features.shape[1], n_labels))
    intercept = np.full(n_labels, -np.inf)
    occurring = np.unique(codes)
    intercept[occurring] = 0.0
    if len(occurring) > 1:
        best = min(STRENGTHS, key=_held_out_loss(features, codes, held_out))
        model = _logistic(best).fit(features, codes)
        if len(occurring) == 2:  # scikit-learn keeps one column for two labels
            weights[:, occurring[1]] = model.coef_[0]
            intercept[occurring[1]] = model.intercept_[0]
        else:
            weights[:, occurring], intercept[occurring] = model.coef_.T, model.intercept_
    return LabelReader(centre, spread, weights, intercept)


def _logistic(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=500)


def _held_out_loss(
    features: np.ndarray, codes: np.ndarray, held_out: np.ndarray
) -> Callable[[float], float]:
    counts = np.bincount(codes[~held_out], minlength=codes.max() + 1)
    known = held_out & (counts[codes] > 0)
    folds = [(~held_out, known)]
    if known.sum() < 2 or (counts > 0).sum() < 2:
        turn = np.zeros(len(codes), dtype=int)  # dealt out label by label, so folds have all
        turn[np.argsort(codes, kind="stable")] = np.arange(len(codes)) % 5
        folds = [(turn != k, turn == k) for k in range(5)]

    def loss(strength: float) -> float:
        total = 0.0
        for train, test in folds:
            seen = np.unique(codes[train])
            judged = test & np.isin(codes, seen)
            if len(seen) < 2 or not judged.any():
                continue
            model = _logistic(strength).fit(features[train], codes[train])
            p = model.predict_proba(features[judged])
            own = p[np.arange(len(p)), np.searchsorted(model.classes_, codes[judged])]
            total -= float(np.log(np.maximum(own, 1e-12)).sum())
        return total

    return loss


@dataclass(frozen=True)
class Translation:
    """An affine map from the latents of a source's trial to a target's.

    Attributes
    ----------
    centre : ndarray of shape (feature,)
        Mean of the source's training latents.
    weights : ndarray of shape (feature, output)
        Regression weights.
    intercept : ndarray of shape (output,)
        Mean of the target's latents.
    penalty : float
        The ridge penalty that was chosen.
    """

    centre: np.ndarray
    weights: np.ndarray
    intercept: np.ndarray
    penalty: float

    def __call__(self, mean: np.ndarray) -> np.ndarray:
        """Translate latents of shape (trial, window, latent)."""
        flat = mean.reshape(len(mean), -1) - self.centre
        return np.asarray(flat @ self.weights + self.intercept, dtype=mean.dtype).reshape(
            mean.shape
        )


def fit_translation(source: np.ndarray, target: np.ndarray, held_out: np.ndarray) -> Translation:
    """Regress a target's latents, or their deviations, on a source's, over paired trials.

    The whole trial is read at once, so that each window profits from all windows of the trial.
    Encoders know their training trials too well, so the penalty is chosen on trials that were
    held out of their training, if there are any, and by leaving trials out otherwise.

    Parameters
    ----------
    source, target : ndarray of shape (trial, window, latent)
        Latents of paired trials.
    held_out : ndarray of bool, (trial,)
        The source's trials that its encoder was not trained on.

    Returns
    -------
    Translation
        The regression, refitted to all trials with the chosen penalty.
    """
    x, y = source.reshape(len(source), -1).astype(float), target.reshape(len(target), -1)
    y = y.astype(float)
    if 2 <= held_out.sum() <= len(x) - 2:
        fitted = _solve(x[~held_out], y[~held_out])
        losses = [
            np.square(y[held_out] - _predict(fitted, p, x[held_out])).mean() for p in PENALTIES
        ]
    else:
        losses = _leave_one_out(x, y)
    penalty = float(PENALTIES[int(np.argmin(losses))])
    solved = _solve(x, y)
    return Translation(solved.x_mean, _weights(solved, penalty), solved.y_mean, penalty)


@dataclass(frozen=True)
class _Decomposition:
    x_mean: np.ndarray
    y_mean: np.ndarray
    left: np.ndarray
    singular: np.ndarray
    right: np.ndarray
    projected: np.ndarray
    unit: float  # mean variance of a feature, times trials


def _solve(x: np.ndarray, y: np.ndarray) -> _Decomposition:
    x_mean, y_mean = x.mean(0), y.mean(0)
    left, singular, right = np.linalg.svd(x - x_mean, full_matrices=False)
    unit = max(float(np.square(singular).sum() / x.shape[1]), 1e-12)
    return _Decomposition(x_mean, y_mean, left, singular, right, left.T @ (y - y_mean), unit)


def _shrinkage(solved: _Decomposition, penalty: float) -> np.ndarray:
    square = np.square(solved.singular)
    return np.asarray(square / (square + penalty * solved.unit))


def _weights(solved: _Decomposition, penalty: float) -> np.ndarray:
    safe = np.where(solved.singular > 0, solved.singular, 1.0)
    inverse = np.where(solved.singular > 0, _shrinkage(solved, penalty) / safe, 0.0)
    return np.asarray(solved.right.T @ (inverse[:, None] * solved.projected))


def _predict(solved: _Decomposition, penalty: float, x: np.ndarray) -> np.ndarray:
    return np.asarray((x - solved.x_mean) @ _weights(solved, penalty) + solved.y_mean)


def _leave_one_out(x: np.ndarray, y: np.ndarray) -> list[float]:
    """Return each penalty's squared error when every trial is predicted from the others."""
    solved = _solve(x, y)
    losses = []
    for penalty in PENALTIES:
        shrink = _shrinkage(solved, penalty)
        fit = solved.left @ (shrink[:, None] * solved.projected)
        leverage = np.square(solved.left) @ shrink + 1.0 / len(x)
        residual = (y - solved.y_mean - fit) / (1.0 - np.minimum(leverage, 1 - 1e-9))[:, None]
        losses.append(float(np.square(residual).mean()))
    return losses
