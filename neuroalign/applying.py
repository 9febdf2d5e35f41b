"""What a fitted model does with data: encode, reconstruct, impute, score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import xarray as xr
from sklearn.utils.validation import check_is_fitted

from neuroalign.errors import DataError, ParameterError
from neuroalign.fitted import FittedModel, encode_subject
from neuroalign.fitting import score_model
from neuroalign.imputing import impute_subject
from neuroalign.joint_reconstruction import reconstruct_jointly
from neuroalign.preparation import Label
from neuroalign.schema import build_tree, validate

Sources = str | Sequence[str]


class AppliesFit:
    """The part of `SharedLatentModel` that needs no more than a finished fit.

    Attributes
    ----------
    fitted_ : FittedModel
        The fit.
    subjects_ : list of str
        Its subjects.
    label_ : str or list of str
        The label that paired the trials.
    """

    fitted_: FittedModel
    subjects_: list[str]
    label_: Label

    def transform(self, windows: xr.DataTree) -> xr.DataTree:
        """Encode every window of every subject.

        Parameters
        ----------
        windows : DataTree
            Windowed counts of some or all subjects of the fit, any trials.

        Returns
        -------
        DataTree
            `mean` and `scale` (trial, window, latent) of each subject's own posterior.

        Raises
        ------
        DataError
            If a subject, its units, bins or windows are not those of the fit.
        """
        results = {}
        for name, dataset in self._known(windows):
            posterior = encode_subject(self.fitted_, name, dataset)
            results[name] = posterior
        return build_tree(results)

    def reconstruct(
        self, data: xr.DataTree, *, windows: bool = False, joint: bool = False
    ) -> xr.DataTree:
        """Decode latent means to expected counts: every subject's own, or the joint ones.

        Parameters
        ----------
        data : DataTree
            Windowed counts of some or all subjects of the fit.
        joint : bool, default=False
            Decode the joint posterior of each trial and its partners among the subjects given,
            for "aggregated", "poe", "moe" and "mopoe". Partners have the same trial id when
            pairing is "trial"; otherwise the k-th trial of a label meets the others' k-th,
            which uses the labels of these trials.
        windows : bool, default=False
            Return each window's own expectation instead of their average in time.

        Returns
        -------
        DataTree
            `expected` (trial, unit, time), spikes per bin; with `windows` (trial, window,
            unit, lag).

        Raises
        ------
        DataError
            If a subject, its units, bins or windows are not those of the fit.
        ParameterError
            If the way of sharing has no joint posterior.
        """
        if joint:
            known = dict(self._known(data))
            return build_tree(
                {
                    name: reconstruct_jointly(self.fitted_, known, name, keep_windows=windows)
                    for name in known
                }
            )
        return build_tree(
            {
                name: impute_subject(self.fitted_, {name: dataset}, name, keep_windows=windows)
                for name, dataset in self._known(data)
            }
        )

    def impute(
        self,
        data: xr.DataTree,
        *,
        source: Sources | None = None,
        target: str,
        windows: bool = False,
        combine: str = "precision",
    ) -> xr.DataTree:
        """Say what the target's units would have done in the source's trials.

        Subjects that were not recorded together share label and time, so beyond these nothing
        about a single trial of the target can be known.

        Parameters
        ----------
        data : DataTree
            Windowed counts that hold the source.
        source : str or list of str, optional
            Whose trials are encoded; by default every other subject in the data. Several
            sources that were recorded together (pairing "trial") say together what each trial
            holds, from the sources that have it. Recorded apart, the trials are the first
            source's, and the k-th trial of a label meets the others' k-th, beginning again
            where there are fewer: this uses the labels of these trials, so the label is
            not imputed then but given.
        target : str
            Whose units are imputed.
        windows : bool, default=False
            Return each window's own expectation instead of their average in time.
        combine : str, default="precision"
            How several sources' expectations are averaged: "precision" weights them, window by
            window, by the mean precision of their posteriors; "equal" does not.

        Returns
        -------
        DataTree
            One child named after the target: `expected` (trial, unit, time), spikes per bin,
            for the source's trials; with `windows` (trial, window, unit, lag).

        Raises
        ------
        DataError
            If a source is missing from the data, or several sources that were recorded apart
            have no labels to meet by.
        ParameterError
            If source or target are no subjects of the fit, or `combine` is unknown.
        """
        check_is_fitted(self)
        validate(data, "windowed", argument="windows")
        if source is None:
            source = [name for name in data.children if name in self.subjects_ and name != target]
        names = [source] if isinstance(source, str) else list(source)
        for role, name in [*(("source", n) for n in names), ("target", target)]:
            if name not in self.subjects_:
                raise ParameterError(
                    f"{role} must be a subject of the fit ({', '.join(self.subjects_)}), "
                    f"got {name!r}."
                )
        if not names:
            raise ParameterError("source must name at least one subject, got an empty list.")
        known = dict(self._known(data, only=names))
        return build_tree(
            {
                target: impute_subject(
                    self.fitted_, known, target, keep_windows=windows, combine=combine
                )
            }
        )

    def score(self, windows: xr.DataTree, *, label: str | Sequence[str] | None = None) -> float:
        """Return minus the negative objective per row, in nats (higher is better).

        Scores depend on beta, likelihood and scaling, and compare only where these are equal.

        Parameters
        ----------
        windows : DataTree
            Windowed counts of all subjects of the fit.
        label : str or list of str, optional
            By which rows are paired; the fit's label by default.

        Raises
        ------
        DataError
            If a subject is missing, or the data are not those of the fit.
        """
        check_is_fitted(self)
        datasets = dict(self._known(windows))
        missing = [name for name in self.subjects_ if name not in datasets]
        if missing:
            raise DataError(f"score needs every subject of the fit, missing: {', '.join(missing)}.")
        used = self.label_ if label is None else label
        return score_model(self.fitted_, {name: datasets[name] for name in self.subjects_}, used)

    def summary(self) -> str:
        """Say in a few lines what was fitted and how it went."""
        check_is_fitted(self)
        return self.fitted_.summary()

    def _known(
        self, windows: xr.DataTree, only: Sequence[str] | None = None
    ) -> Iterator[tuple[str, xr.Dataset]]:
        """Yield subjects of the data after checking that they are those of the fit."""
        check_is_fitted(self)
        validate(windows, "windowed", argument="windows")
        names = list(windows.children) if only is None else list(only)
        for name in names:
            if name not in windows.children:
                raise DataError(
                    f"no subject {name!r} in the data; it holds: {', '.join(windows.children)}."
                )
            if name not in self.subjects_:
                raise DataError(
                    f"subject {name!r} was not in the fit, which knows: "
                    f"{', '.join(self.subjects_)}."
                )
            yield name, windows[name].to_dataset()
