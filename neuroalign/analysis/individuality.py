"""What is shared between animals, and what is each animal's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from neuroalign.analysis.baselines import check_same_units
from neuroalign.analysis.individuality_bits import MEASURES, shared_bits
from neuroalign.analysis.individuality_geometry import SPLITS, compare_geometry
from neuroalign.analysis.individuality_identification import identify_subjects
from neuroalign.analysis.individuality_trajectories import deviations
from neuroalign.analysis.individuality_trials import compared_trials
from neuroalign.analysis.individuality_units import unit_importance
from neuroalign.analysis.labels import Label, label_name
from neuroalign.analysis.statistics import check_count
from neuroalign.data.randomness import RandomState, resolve_seed
from neuroalign.data.splits import assert_disjoint
from neuroalign.errors import DataError
from neuroalign.schema import subjects_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["individual_differences", "individual_differences_to_frames"]

GEOMETRY: Final = (
    "representational_similarity",
    "similarity_corrected",
    "procrustes_distance",
    "unrotated_distance",
)


def individual_differences(
    model: Any,
    train: xr.DataTree,
    test: xr.DataTree,
    *,
    label: Label,
    classifier: Any = None,
    units: bool = True,
    bootstraps: int = 1000,
    permutations: int = 1000,
    repeats: int = 5,
    random_state: RandomState = 0,
) -> xr.Dataset:
    """Measure what is shared between animals and what is each animal's own, on held-out trials.

    Five views of one fit. *Bits*: how well a subject's spikes are explained from its own latents
    and from the other subjects'. *Deviation*: how far its average latents lie from the other
    subjects'. *Geometry*: whether it arranges labels and windows as the others do.
    *Identification*: how well a subject can be told from its latents. *Units*: which of its units
    the latents depend on.

    What this cannot say: animals differ in how many units were recorded and how well, and an
    encoder of few or noisy units places its trials elsewhere, mostly nearer the middle. A
    deviation, or an animal that can be identified, is a difference between *latents*; that it is
    one between *animals* needs more, such as a control that drops units. Pairing by label pulls
    animals together label by label, so agreement on the label is largely made by the fit.
    Intervals and p-values are about further trials of these animals, taken to be independent of
    each other; they are not about further animals.

    Parameters
    ----------
    model : SharedLatentModel
        Fitted to `train`; anything with `transform(windows)`, `reconstruct(windows)` and
        `impute(windows, source=, target=)` will do.
    train, test : DataTree
        Windowed counts of disjoint trials of the same two or more subjects.
    label : str or list of str
        Trial coordinate by which trials of different subjects are compared, or several whose
        combination is meant. All but the bits uses the labels of which every subject has a
        training trial and two held-out trials; the others are left out with a warning.
    classifier : scikit-learn classifier, optional
        Reads subjects (identification) and labels (units) from latents; see `decode_labels`.
    units : bool
        Whether to measure the units, which takes most of the time: an encoding of `repeats`
        times the held-out trials for every unit.
    bootstraps : int
        Resamples of held-out trials within subject and label behind every 95 % interval; 0 for
        none.
    permutations : int
        Permutations of held-out trials over subjects, within label, behind every p-value; 0 for
        none.
    repeats : int
        Exchanges of every unit's counts between trials.
    random_state : int, Generator or None
        Seed; the one that was used is kept in the attributes.

    Returns
    -------
    Dataset
        Intervals have the name of what they are of, with `_interval`, and a last dim `bound`.

        `bits_own(subject)`: bits per spike of held-out trials over the units' mean training rates,
        reconstructed from the subject's own latents; as in `reconstruction_scores`.
        `bits_from_others(subject)`: the same, imputed from another subject's trials of the same
        label, mean over sources; as in `score_imputation`. `own_bits(subject)`: their difference,
        and `shared_share(subject)`: their ratio, NaN unless `bits_own` is positive (its interval
        unless that of `bits_own` is). **A reconstruction has seen the counts that it explains**,
        while an imputation never has, and what varies between trials of a label cannot be known
        from animals recorded apart. So `bits_own` is too high a mark: the share is a lower bound
        of what is shared, and `own_bits` an upper bound of what is the animal's own. (A share
        above 1 means that the animal's own reconstruction is poor: bound is only what is fitted
        well.) `SharedLatentModel` fitted to animals recorded apart imputes by reading the label
        from the source's latents and returning the target's training average for it, so that
        these bits are what label and time pass on; `bits_label_average(subject)`, what the
        training averages of the *true* labels explain of the same pairs of trials, is the most
        that can be had that way. Resampled are the target's and the sources' trials at once.

        `deviation(subject, label, window, latent)`: mean held-out latent minus the mean of the
        other subjects' means, in latent units. One animal that lies apart by d makes each of the
        other M - 1 deviate by d / (M - 1). `deviation_norm(subject, label, window)`: its length
        in distances between labels (`label_distance`, in latent units: the root mean squared
        distance between two labels' averages, within subjects, over windows; held fixed by the
        intervals). The length of a noisy average is biased upward; so the square is the inner
        product of deviations from disjoint halves of the trials, averaged over all ways to halve
        them, which is computed in closed form (squared length minus the variance of the average)
        and is right on average. The norm is the root of its absolute value, *negative* where the
        square is: there, no deviation is seen. `deviation_total(subject)`: the same from the
        square's mean over labels and windows. `deviation_p_value(subject)`: whether trials dealt
        anew to the subjects, within label and with every subject's number of trials, deviate as
        far; the statistic is the squared deviation, summed over labels and windows, over its
        noise. The null is that no animal differs from any other. `deviation_p_corrected(subject)`:
        after Benjamini and Hochberg, over subjects.

        `representational_similarity(subject, other)`: Pearson correlation of the two subjects'
        dissimilarities, unbiased squared distances between all pairs of averages of a label and
        window; NaN if a label has fewer than four held-out trials.
        `procrustes_distance(subject, other)`: squared distance between the two arrangements of
        these averages, centred and of unit size, after the best rotation or reflection and scale,
        0 (same shape) to 1; `unrotated_distance(subject, other)`: after the best scale alone, so
        that the difference of the two is what a rotation explains. All three compare half of one
        subject's trials with half of the other's, or with its own other half on the diagonal,
        over 50 splits: the diagonal is what noise leaves of perfect agreement.
        `similarity_corrected(subject, other)`: the similarity divided by the root of both
        diagonal values, 1 for arrangements that differ by noise only; scattered, even above 1,
        where these are small, NaN where they are not positive.

        `identification(level)`: balanced accuracy, over subjects and labels, of a classifier of
        the subject trained on training latents (equally many trials of a label from each
        subject); level "window" or "trial". `identification_chance`: 1 / number of subjects;
        `identification_p_value`: per trial. `identification_confusion(subject,
        predicted_subject)`: share of a subject's held-out trials taken for whose, rows sum to 1.

        `unit_displacement(unit)`: mean squared distance that latents move when the unit's counts
        (all bins together) are exchanged with those of another held-out trial, over the variance
        of that subject's latents. `unit_label_drop(unit)`: by how much that lowers the
        probability that the classifier trained on all other subjects gives to a trial's true
        label (`label_probability(subject)` for intact trials; every label counts the same).
        Units that say the same thing as others score low together. `..._error(unit)`: standard
        error over repeats, which knows the exchanges, not the choice of trials. `unit` runs over
        all subjects; its coordinate `unit_subject` says whose it is.

    Raises
    ------
    DataError
        If trees are not windowed, share trials, differ in subjects or units, have one subject
        only or fewer than two common labels, or latents are not those of one space.
    ParameterError
        If a number of repetitions makes no sense, or the classifier gives no probabilities.

    Warns
    -----
    DataWarning
        If labels are left out because not every subject has them, or held-out latents do not
        differ between labels.

    References
    ----------
    Walther et al., *Reliability of dissimilarity measures for multi-voxel pattern analysis*,
    NeuroImage 137 (2016), for unbiased squared distances; Chung and Romano, *Exact and
    asymptotically robust permutation tests*, Annals of Statistics 41 (2013), for dividing a
    permuted statistic by its noise.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=60, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, test_size=0.4, stratify="odor", random_state=0)
    >>> model = na.SharedLatentModel(2, likelihood="gaussian", max_epochs=1, validation_fraction=0,
    ...                              random_state=0, verbose=False).fit(train, label="odor")
    >>> found = individual_differences(model, train, test, label="odor", bootstraps=20,
    ...                                permutations=20, repeats=2)
    >>> found["deviation_norm"].dims
    ('subject', 'label', 'window')
    >>> found["unit_displacement"].sizes["unit"]
    14
    """
    check_same_units(train, test)
    assert_disjoint(train, test)
    check_count("bootstraps", bootstraps)
    check_count("permutations", permutations)
    check_count("repeats", repeats, least=1)
    seed = resolve_seed(random_state)
    trials = compared_trials(model.transform(train), model.transform(test), label)
    parts = [
        shared_bits(model, train, test, label=label, bootstraps=bootstraps, seed=seed),
        deviations(trials, bootstraps=bootstraps, permutations=permutations, seed=seed),
        compare_geometry(trials, seed=seed),
        identify_subjects(
            trials,
            classifier=classifier,
            bootstraps=bootstraps,
            permutations=permutations,
            seed=seed,
        ),
    ]
    if units:
        parts.append(
            unit_importance(model, trials, test, classifier=classifier, repeats=repeats, seed=seed)
        )
    merged = xr.merge(parts, join="exact", compat="no_conflicts", combine_attrs="drop")
    return merged.assign_attrs(
        stage="individual-differences",
        subjects=json.dumps(subjects_of(test)),
        label=label_name(label),
        bootstraps=bootstraps,
        permutations=permutations,
        repeats=repeats if units else 0,
        geometry_splits=SPLITS,
        deviation_null="held-out trials dealt anew to the subjects within label",
        classifier=(
            "logistic regression, C by trial" if classifier is None else type(classifier).__name__
        ),
        random_state=seed,
    )


def individual_differences_to_frames(dataset: xr.Dataset) -> dict[str, pd.DataFrame]:
    """Lay out what `individual_differences` found as tidy tables.

    Parameters
    ----------
    dataset : Dataset
        From `individual_differences`.

    Returns
    -------
    dict of DataFrame
        `"bits"`: a row per `subject` and `measure`, with `value`, `low`, `high`.
        `"subjects"`: a row per `subject`, with `deviation_total`, `low`, `high`, `p_value`,
        `p_corrected` (and `label_probability` if units were measured).
        `"deviation"`: a row per `subject`, `label` and `window`, with `norm`, `low`, `high`.
        `"geometry"`: a row per `subject` and `other`, with the four measures.
        `"identification"`: a row per `level`, with `accuracy`, `low`, `high`, `chance` and
        `p_value` (per trial only). `"confusion"`: a row per `subject` and
        `predicted_subject`, with `share`.
        `"units"`, if they were measured: a row per `unit`, with `subject`, `displacement`,
        `displacement_error`, `label_drop`, `label_drop_error`.

    Raises
    ------
    DataError
        If `dataset` was not made by `individual_differences`.

    Examples
    --------
    See `individual_differences`; `frames["units"].nlargest(5, "displacement")` names the units
    that the latents depend on most.
    """
    check_individual_differences(dataset)
    frames = {
        "bits": _bits_frame(dataset),
        "subjects": _subjects_frame(dataset),
        "deviation": _with_interval(dataset, "deviation_norm", "norm"),
        "geometry": dataset[list(GEOMETRY)].to_dataframe().reset_index(),
        "identification": _identification_frame(dataset),
        "confusion": (dataset["identification_confusion"].to_dataframe(name="share").reset_index()),
    }
    if "unit_displacement" in dataset:
        frames["units"] = _units_frame(dataset)
    return frames


def check_individual_differences(dataset: object) -> xr.Dataset:
    """Return `dataset` if `individual_differences` made it.

    Raises
    ------
    DataError
        If it did not.
    """
    if not isinstance(dataset, xr.Dataset) or "deviation_norm" not in dataset:
        raise DataError(
            f"expected a Dataset made by individual_differences, got {type(dataset).__name__}."
        )
    return dataset


def _with_interval(dataset: xr.Dataset, variable: str, name: str) -> pd.DataFrame:
    ends = dataset[f"{variable}_interval"]
    columns = {
        name: dataset[variable],
        "low": ends.sel(bound="low", drop=True),
        "high": ends.sel(bound="high", drop=True),
    }
    dims = [str(dim) for dim in dataset[variable].dims]
    return xr.Dataset(columns).to_dataframe(dim_order=dims).reset_index()


def _bits_frame(dataset: xr.Dataset) -> pd.DataFrame:
    import pandas as pd

    tables = [_with_interval(dataset, measure, "value") for measure in MEASURES]
    bare = dataset["bits_label_average"].to_dataframe(name="value").reset_index()
    tables.append(bare.assign(low=np.nan, high=np.nan))
    for table, measure in zip(tables, (*MEASURES, "bits_label_average"), strict=True):
        table.insert(1, "measure", measure)
    return pd.concat(tables, ignore_index=True)


def _subjects_frame(dataset: xr.Dataset) -> pd.DataFrame:
    table = _with_interval(dataset, "deviation_total", "deviation_total")
    table["p_value"] = dataset["deviation_p_value"].values
    table["p_corrected"] = dataset["deviation_p_corrected"].values
    if "label_probability" in dataset:
        table["label_probability"] = dataset["label_probability"].values
    return table


def _identification_frame(dataset: xr.Dataset) -> pd.DataFrame:
    table = _with_interval(dataset, "identification", "accuracy")
    per_trial = table["level"] == "trial"
    p_value = dataset["identification_p_value"].item()
    return table.assign(
        chance=dataset["identification_chance"].item(),
        p_value=np.where(per_trial, p_value, np.nan),
    )


def _units_frame(dataset: xr.Dataset) -> pd.DataFrame:
    import pandas as pd

    names = ("displacement", "displacement_error", "label_drop", "label_drop_error")
    return pd.DataFrame(
        {
            "unit": dataset["unit"].values,
            "subject": dataset["unit_subject"].values,
            **{name: dataset[f"unit_{name}"].values for name in names},
        }
    )
