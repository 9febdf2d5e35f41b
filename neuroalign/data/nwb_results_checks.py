"""What must hold before results are written: whose files, trials, labels and units they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from neuroalign.data.nwb_results import positions, series_name
from neuroalign.data.nwb_results_reader import is_results_file
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import iterate_subjects, label_values, validate
from neuroalign.suggestions import close_match

PathLike = str | Path
Sources = Mapping[str, PathLike | Sequence[PathLike]]
Trees = xr.DataTree | Sequence[xr.DataTree]
SCORES_NEED = ("predicted", "probability", "accuracy", "interval", "chance", "p_value")


def source_files(
    encoded: Mapping[str, xr.Dataset],
    trees: Sequence[xr.DataTree | None],
    sources: Sources | None,
) -> dict[str, list[Path]]:
    """Return the files of each subject: those given, else those that the data remember.

    Parameters
    ----------
    encoded : mapping
        Subject to its latents.
    trees : sequence of DataTree
        Data that may remember their files.
    sources : mapping, optional
        Subject to its file or files, as the user gave them.

    Raises
    ------
    ParameterError
        If a subject is not to be written, or has no file.
    DataError
        If the first file is not the one whose clock the times are on.
    """
    given = dict(sources or {})
    for name in given:
        if name not in encoded:
            raise ParameterError(
                f"sources names {name!r}, which is no subject to write "
                f"({', '.join(encoded)}).{close_match(name, encoded)}"
            )
    files: dict[str, list[Path]] = {}
    for name in encoded:
        remembered = _remembered(name, trees)
        if name not in given:
            files[name] = remembered
            continue
        one = given[name]
        files[name] = [
            Path(p).expanduser() for p in ([one] if isinstance(one, str | Path) else one)
        ]
        _check_first(name, files[name], remembered)
    return files


def _remembered(name: str, trees: Sequence[xr.DataTree | None]) -> list[Path]:
    for tree in trees:
        if tree is not None and name in tree.children:
            found = json.loads(tree[name].attrs.get("source_files", "[]"))
            if found:
                return [Path(path) for path in found]
    return []


def _check_first(name: str, given: list[Path], remembered: list[Path]) -> None:
    """Refuse an order of files that would take the clock of another than the first one read."""
    if not given:
        raise ParameterError(f"sources gives no file for {name!r}; leave the subject out.")
    names, before = [p.name for p in given], [p.name for p in remembered]
    if set(names) == set(before) and names[0] != before[0]:
        raise DataError(
            f"times of subject {name!r} are on the clock of {before[0]}, the first file that was "
            f"read, got {names[0]} first in sources; give {before[0]} first."
        )


def check_paths(
    paths: Mapping[str, Path], files: Mapping[str, Sequence[Path]], overwrite: bool
) -> None:
    """Refuse to replace what is no file of results, and any file unless told to.

    Raises
    ------
    DataError
        If a path is a source, exists and `overwrite` is not set, or holds something else.
    """
    originals = [path for of_subject in files.values() for path in of_subject if path.exists()]
    for path in paths.values():
        if not path.exists():
            continue
        if any(path.samefile(original) for original in originals):
            raise DataError(
                f"{path} is a source of these results and is never replaced; give another folder."
            )
        if not overwrite:
            raise DataError(
                f"{path} exists; pass overwrite=True to replace it, or give another folder."
            )
        if not is_results_file(path):
            raise DataError(
                f"{path} holds no results of neuroalign, so it is not replaced; give another "
                "folder."
            )


def place_expected(
    encoded: Mapping[str, xr.Dataset],
    imputed: Trees | None,
    unit_ids: Mapping[str, Sequence[str]],
) -> dict[str, list[xr.Dataset]]:
    """Give every Dataset of expected counts to the subject whose trials it holds.

    Parameters
    ----------
    encoded : mapping
        Subject to its latents.
    imputed : DataTree, list of DataTree or None
        Expected counts.
    unit_ids : mapping
        Subject of the fit to its unit ids.

    Raises
    ------
    DataError
        If trials or units are others than those of latents and model, or one comes twice.
    """
    trees = [] if imputed is None else [imputed] if isinstance(imputed, xr.DataTree) else imputed
    placed: dict[str, list[xr.Dataset]] = {name: [] for name in encoded}
    for tree in trees:
        for target, data in iterate_subjects(validate(tree, "imputed", argument="imputed")):
            source = str(data.attrs.get("source", ""))
            owner = source if source in unit_ids else source.split(", ", maxsplit=1)[0]
            where = f"imputed {target!r} from {source!r}"
            if owner not in encoded:
                raise DataError(
                    f"expected the trials of {owner!r} among those to write, which are of "
                    f"{', '.join(encoded)}; at {where}."
                )
            if data["unit"].values.tolist() != list(unit_ids.get(target, ())):
                raise DataError(
                    f"expected the units of {target!r} that the model knows, got others, at {where}."
                )
            _check_trials(data, encoded[owner], where)
            names = [series_name(one, owner) for one in placed[owner]]
            if series_name(data, owner) in names:
                raise DataError(f"expected one of a kind, got {where} twice; give it once.")
            placed[owner].append(data)
    return placed


def _check_trials(data: xr.Dataset, latents: xr.Dataset, where: str) -> None:
    """Refuse trials that are not those of the latents."""
    place = positions(latents, data["trial"].values)
    if (place < 0).any():
        unknown = data["trial"].values[place < 0]
        raise DataError(
            f"expected trials that are among those to write, got {unknown.size} others "
            f"(the first is {unknown[0]}) at {where}; write all trials, or impute those only."
        )
    for name, one in data.coords.items():
        if one.dims != ("trial",) or name not in latents.coords:
            continue
        mine, theirs = one.values, latents[name].values[place]
        same = mine == theirs
        if mine.dtype.kind == "f" and theirs.dtype.kind == "f":
            same = same | (np.isnan(mine) & np.isnan(theirs))
        if not np.all(same):
            raise DataError(
                f"expected the same {name!r} of the same trials, got another at {where}; were "
                "they read from another session?"
            )


def check_scores(encoded: Mapping[str, xr.Dataset], scores: xr.Dataset) -> None:
    """Refuse scores of other trials than those to write, or of other labels than they have.

    Raises
    ------
    DataError
        The message names the subject, and the trial or the label.
    """
    missing = [name for name in SCORES_NEED if name not in getattr(scores, "data_vars", {})]
    if missing or "test_trial_subject" not in scores.coords:
        raise DataError(
            f"expected scores made by decode_labels or cross_validate, got {type(scores).__name__} "
            f"without {', '.join(missing) or 'test_trial_subject'}."
        )
    read = scores["test_trial_subject"].values.astype(str)
    for name, data in encoded.items():
        ids = scores["test_trial_id"].values[read == name]
        place = positions(data, ids)
        if (place < 0).any():
            raise DataError(
                f"scores hold trial {ids[place < 0][0]} of subject {name!r}, which is not among "
                "the trials to write; write all trials that were decoded."
            )
        label = str(scores.attrs.get("label", "")).split("|")
        if any(one not in data.coords for one in label):
            continue
        true = label_values(data, label[0] if len(label) == 1 else label, subject=name)
        if true.dtype.kind == "f":
            true = np.array([format(value, ".12g") for value in true.tolist()])
        if not np.array_equal(
            true.astype(str)[place], scores["test_trial_label"].values[read == name]
        ):
            raise DataError(
                f"labels {'|'.join(label)!r} of subject {name!r} in scores are not those of its "
                "trials; were they permuted, or read from another session?"
            )
