"""What an evaluation gives: one labelled Dataset, and its tables and figure."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

from neuroalign.analysis.predictions import OTHERS
from neuroalign.errors import DataError, ParameterError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Part = Literal[
    "headline", "decoding", "imputation", "reconstruction", "left out", "transfer", "fit"
]
PARTS: Final = (
    "headline",
    "decoding",
    "imputation",
    "reconstruction",
    "left out",
    "transfer",
    "fit",
)
HOMES: Final = {
    "headline": "headline",
    "decoding": "accuracy",
    "imputation": "bits_per_spike",
    "reconstruction": "bits_reconstructed",
    "left out": "left_out",
    "transfer": "transfer",
    "fit": "settings",
}


@dataclass(frozen=True)
class Evaluation:
    """Scores of all methods of one `evaluate`.

    Attributes
    ----------
    dataset : Dataset
        Everything, with named dimensions; see `evaluate`.
    """

    dataset: xr.Dataset

    def __repr__(self) -> str:
        """Show the headline and the names of the other tables."""
        said, table = self.dataset.attrs, self.to_frame("headline")
        asked = f"label {said['label']!r}, {said['protocol']}, {said['folds']} fold(s)"
        lines = [f"Evaluation of {len(self.models)} method(s), {asked}"]
        lines += [table.to_string(index=False, float_format=lambda value: f"{value:.3f}")]
        lines += [f"to_frame: {', '.join(map(repr, self.parts))}; dataset, plot() and save()"]
        if self.left_out_methods:
            lines += [f"without scores: {', '.join(map(repr, self.left_out_methods))}"]
        return "\n".join(lines)

    @property
    def models(self) -> list[str]:
        """Names of models and baselines, in the order they were given."""
        return [str(name) for name in self.dataset["model"].values]

    @property
    def left_out_methods(self) -> dict[str, str]:
        """Methods that have no scores because they could not be fitted or read, and why."""
        return dict(json.loads(self.dataset.attrs.get("left_out_methods", "{}")))

    @property
    def parts(self) -> list[str]:
        """The tables that `to_frame` can give."""
        return [part for part in PARTS if HOMES[part] in self.dataset]

    def to_frame(self, part: Part = "headline") -> pd.DataFrame:
        """Lay out one part as a tidy table.

        Parameters
        ----------
        part : str
            "headline" (a row per method, within or across, and level), "decoding" (per
            classifier and test subject), "imputation" (per kind, source and target),
            "reconstruction" (per subject), "left out" (per label and subject), "transfer" (per
            variable, classifier and subject) or "fit" (per fold: settings, alignment, seconds).

        Returns
        -------
        DataFrame
            Rows without a number are left out.

        Raises
        ------
        ParameterError
            If there is no such part in this evaluation.
        """
        import pandas as pd

        if part not in self.parts:
            raise ParameterError(
                f"part must be one of {', '.join(map(repr, self.parts))}, got {part!r}."
            )
        rows = [row for name in self.models for row in ROWS[part](self.dataset.sel(model=name))]
        return pd.DataFrame(rows)

    def plot(self, *, level: Literal["trial", "window"] = "trial", ax: Axes | None = None) -> Axes:
        """Draw every method's accuracy within and across subjects; see `plot_evaluation`."""
        from neuroalign.analysis.plot_evaluation import plot_evaluation

        return plot_evaluation(self, level=level, ax=ax)

    def save(self, path: str | Path) -> Path:
        """Write the Dataset as one netCDF file; an existing file is replaced once all is written.

        Parameters
        ----------
        path : str or Path
            Where to.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.partial")
        self.dataset.to_netcdf(aside, engine="h5netcdf")
        os.replace(aside, path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Evaluation:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            If the file is missing, damaged, or something else.
        """
        path = Path(path)
        if not path.exists():
            raise DataError(f"expected a file written by Evaluation.save, found nothing at {path}.")
        try:
            with xr.open_dataset(path, engine="h5netcdf") as opened:
                dataset = opened.load()
        except (OSError, ValueError, KeyError) as problem:
            raise DataError(f"{path} is no readable netCDF file ({problem}).") from problem
        if dataset.attrs.get("stage") != "evaluation":
            raise DataError(f"{path} holds no evaluation; it was not written by Evaluation.save.")
        return cls(dataset)


def _ends(scores: xr.Dataset, name: str) -> dict[str, float]:
    low, high = scores[name].values.tolist()
    return {"low": low, "high": high}


def _headline(scores: xr.Dataset) -> Iterator[dict[str, Any]]:
    chance = float(scores["chance"].mean())
    for scope in scores["scope"].values.tolist():
        for level in scores["level"].values.tolist():
            one = scores.sel(scope=scope, level=level)
            if not np.isfinite(one["headline"]):
                continue
            row = {"model": str(scores["model"].item()), "scope": scope, "level": level}
            row |= {"accuracy": one["headline"].item()} | _ends(one, "headline_interval")
            row |= {"chance": chance}
            tested = level == "trial"
            row["p_decoder_null"] = one["headline_p"].item() if tested else np.nan
            if "model_null_p" in scores:
                row["p_model_null"] = one["model_null_p"].item() if tested else np.nan
                row["model_null_mean"] = float(one["model_null"].mean()) if tested else np.nan
                failed = one.get("model_null_failed")  # files of earlier versions have none
                row["model_null_failed"] = 0 if failed is None else int(failed.item())
            yield row


def _decoding(scores: xr.Dataset) -> Iterator[dict[str, Any]]:
    for level in scores["level"].values.tolist():
        for source in scores["train_subject"].values.tolist():
            for subject in scores["test_subject"].values.tolist():
                one = scores.sel(level=level, train_subject=source, test_subject=subject)
                if not np.isfinite(one["accuracy"]):
                    continue
                kind = "across" if source == OTHERS else "within" if source == subject else "pair"
                row = {"model": str(scores["model"].item()), "level": level, "kind": kind}
                row |= {"train_subject": source, "test_subject": subject}
                row |= {"accuracy": one["accuracy"].item()} | _ends(one, "interval")
                row |= {"chance": one["chance"].item()}
                for name in ("p_value", "p_corrected"):
                    row[name] = one[name].item() if level == "trial" else np.nan
                yield row


def _imputation(scores: xr.Dataset) -> Iterator[dict[str, Any]]:
    for source in scores["source"].values.tolist():
        for target in scores["target"].values.tolist():
            for kind in scores["kind"].values.tolist():
                one = scores.sel(kind=kind, source=source, target=target)
                if not np.isfinite(one["bits_per_spike"]):
                    continue
                row = {"model": str(scores["model"].item()), "kind": kind}
                row |= {"source": source, "target": target}
                row |= {"bits_per_spike": one["bits_per_spike"].item()}
                row |= _ends(one, "bits_interval")
                if kind == "imputed":
                    low, high = one["above_floor_interval"].values.tolist()
                    row |= {"above_floor": one["above_floor"].item()}
                    row |= {"above_floor_low": low, "above_floor_high": high}
                for name in ("correlation", "correlation_unit"):
                    row[name] = one[name].item()
                for name in ("coherence_window", "coherence_trial"):
                    row[name] = one[name].item()
                    row[f"real_{name}"] = one["real_coherence"].sel(level=name[10:]).item()
                yield row


def _reconstruction(scores: xr.Dataset) -> Iterator[dict[str, Any]]:
    for subject in scores["subject"].values.tolist():
        one = scores.sel(subject=subject)
        if np.isfinite(one["bits_reconstructed"]):
            row = {"model": str(scores["model"].item()), "subject": subject}
            row |= {"bits_per_spike": one["bits_reconstructed"].item()}
            yield row | _ends(one, "bits_reconstructed_interval")


def _left_out(scores: xr.Dataset) -> Iterator[dict[str, Any]]:
    for label in scores["left_out_label"].values.tolist():
        for scope in scores["scope"].values.tolist():
            for subject in scores["test_subject"].values.tolist():
                one = scores.sel(left_out_label=label, scope=scope, test_subject=subject)
                if np.isfinite(one["left_out"]):
                    row = {"model": str(scores["model"].item()), "left_out_label": label}
                    row |= {"scope": scope, "test_subject": subject}
                    row |= {"read_right": one["left_out"].item()} | _ends(one, "left_out_interval")
                    row["false_alarms"] = one["left_out_false_alarms"].item()
                    yield row | {"chance": one["chance"].item()}


def _transfer(scores: xr.Dataset) -> Iterator[dict[str, Any]]:
    for variable in scores["variable"].values.tolist():
        for source in scores["train_subject"].values.tolist():
            for subject in scores["test_subject"].values.tolist():
                one = scores.sel(variable=variable, train_subject=source, test_subject=subject)
                if np.isfinite(one["transfer"]):
                    row = {"model": str(scores["model"].item()), "variable": variable}
                    row |= {"train_subject": source, "test_subject": subject}
                    row |= {"correlation": one["transfer"].item()}
                    row |= _ends(one, "transfer_interval")
                    yield row | {"p_value": one["transfer_p"].item()}


def _fit(scores: xr.Dataset) -> Iterator[dict[str, Any]]:
    for fold in scores["fold"].values.tolist():
        one = scores.sel(fold=fold)
        row = {"model": str(scores["model"].item()), "fold": fold}
        row |= {"settings": str(one["settings"].item()), "alignment": one["alignment"].item()}
        tried = json.loads(str(one["tuning"].item()) or "[]")
        yield row | {"seconds": one["seconds"].item(), "candidates": max(1, len(tried))}


ROWS: Final = {
    "headline": _headline,
    "decoding": _decoding,
    "imputation": _imputation,
    "reconstruction": _reconstruction,
    "left out": _left_out,
    "transfer": _transfer,
    "fit": _fit,
}
