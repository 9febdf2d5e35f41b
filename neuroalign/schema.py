"""What each stage of the data must look like, and the checks that say so.

One container throughout: an `xarray.DataTree` with one child per subject and nothing on its
root. Each child carries its stage and its subject as attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import xarray as xr

from neuroalign.errors import DataError
from neuroalign.suggestions import close_match

Stage = Literal["recording", "binned", "windowed", "latents", "imputed"]
# what latents still say of the windows they were made of
LATENT_ATTRIBUTES = (
    "subject", "spec", "bin_width", "frame_start", "frame_stop", "window_length", "window_step",
)  # fmt: skip


@dataclass(frozen=True)
class StageContract:
    """Variables (with their dims), coordinates and attributes that a stage promises."""

    made_by: str
    variables: Mapping[str, tuple[str, ...]]
    coordinates: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()


CONTRACTS: Final[Mapping[Stage, StageContract]] = {
    "recording": StageContract(
        made_by="read_nwb, from_arrays or simulate_recordings",
        variables={"spike_time": ("spike",), "spike_unit": ("spike",)},
        coordinates=("unit", "unit_number", "trial", "onset", "start", "stop"),
    ),
    "binned": StageContract(
        made_by="bin_spikes or read_odor_sequence",
        variables={"counts": ("trial", "unit", "time")},
        coordinates=("trial", "unit", "time"),
        attributes=("bin_width", "frame_start", "frame_stop"),
    ),
    "windowed": StageContract(
        made_by="slide_windows",
        variables={"counts": ("trial", "unit", "time")},
        coordinates=("trial", "unit", "time", "window"),
        attributes=("bin_width", "frame_start", "frame_stop", "window_length", "window_step"),
    ),
    "latents": StageContract(
        made_by="SharedLatentModel.transform",
        variables={"mean": ("trial", "window", "latent")},
        coordinates=("trial", "window"),
    ),
    "imputed": StageContract(
        made_by="SharedLatentModel.impute or .reconstruct",
        variables={"expected": ("trial", "unit", "time")},
        coordinates=("trial", "unit", "time"),
    ),
}

ILLEGAL_SUBJECTS: Final = ("", ".", "..")


def check_subject_name(name: object) -> str:
    """Return `name` if a subject may carry it.

    Raises
    ------
    DataError
        If the name is not text, is empty, `.` or `..`, or holds a slash: a tree would
        read those as a path.
    """
    if not isinstance(name, str) or name.strip() in ILLEGAL_SUBJECTS or "/" in name:
        raise DataError(
            f"subject names must be non-empty text without slashes, got {name!r}; "
            "give another name by passing a mapping subject -> file."
        )
    return name


def subjects_of(tree: xr.DataTree) -> list[str]:
    """List the subjects of a tree in their order."""
    return list(tree.children)


def iterate_subjects(tree: xr.DataTree) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield every subject's name and its Dataset (which shares memory with the tree)."""
    for name, child in tree.children.items():
        yield name, child.to_dataset()


def build_tree(datasets: Mapping[str, xr.Dataset]) -> xr.DataTree:
    """Build a tree with one child per subject.

    Raises
    ------
    DataError
        If there is no subject or a name is not allowed.
    """
    if not datasets:
        raise DataError("expected at least one subject, got none.")
    children = {check_subject_name(name): dataset for name, dataset in datasets.items()}
    return xr.DataTree.from_dict(children)


def map_subjects(
    tree: xr.DataTree, function: Callable[[str, xr.Dataset], xr.Dataset]
) -> xr.DataTree:
    """Build a new tree from `function(subject, dataset)` of every subject."""
    return build_tree({name: function(name, data) for name, data in iterate_subjects(tree)})


def stage_of(dataset: xr.Dataset) -> str:
    """Name the stage a subject's Dataset says it is in (empty text if it does not say)."""
    return str(dataset.attrs.get("stage", ""))


def validate(tree: object, stage: Stage, *, argument: str = "data") -> xr.DataTree:
    """Return `tree` if it is a tree of that stage.

    Parameters
    ----------
    tree : DataTree
        One child per subject.
    stage : str
        What is expected: "recording", "binned", "windowed", "latents" or "imputed".
    argument : str
        The argument's name, for the message.

    Raises
    ------
    DataError
        If it is no tree, is empty, carries data on its root, or a child lacks what the stage
        promises. The message says what was expected, what came, where, and what to call.
    """
    contract = CONTRACTS[stage]
    if not isinstance(tree, xr.DataTree):
        raise DataError(
            f"{argument} must be an xarray.DataTree with one child per subject "
            f"(made by {contract.made_by}), got {type(tree).__name__}."
        )
    if not tree.children:
        raise DataError(f"{argument} has no subjects; expected a tree made by {contract.made_by}.")
    if tree.data_vars or tree.coords:
        raise DataError(f"{argument} must carry nothing on its root; keep data in the children.")
    for name, dataset in iterate_subjects(tree):
        _validate_child(dataset, stage, contract, where=f"subject {name!r} of {argument}")
    return tree


def _validate_child(
    dataset: xr.Dataset, stage: Stage, contract: StageContract, *, where: str
) -> None:
    found = stage_of(dataset) or "data without a stage"
    accepted = {stage, "windowed"} if stage == "binned" else {stage}
    if found not in accepted:
        raise DataError(
            f"expected {stage} data (made by {contract.made_by}), got {found}, at {where}."
        )
    for variable, dims in contract.variables.items():
        if variable not in dataset:
            raise DataError(f"expected variable {variable!r} in {stage} data, missing at {where}.")
        if dataset[variable].dims != dims:
            raise DataError(
                f"expected {variable!r} with dims {dims}, got {dataset[variable].dims}, at {where}."
            )
    missing = [c for c in contract.coordinates if c not in dataset.coords]
    missing += [a for a in contract.attributes if a not in dataset.attrs]
    if missing:
        raise DataError(f"{stage} data lack {', '.join(map(repr, missing))} at {where}.")
    if "trial" in dataset.coords and not dataset.indexes["trial"].is_unique:
        raise DataError(f"trial ids must be unique, got duplicates at {where}.")


def label_values(
    dataset: xr.Dataset, label: str | list[str] | tuple[str, ...], *, subject: str
) -> np.ndarray:
    """Return every trial's label; a list of coordinates gives their combination as text.

    Returns
    -------
    ndarray of shape (trial,)
        The coordinate's own values for one label, and text such as `"A|True"` for several.

    Raises
    ------
    DataError
        If a label is no coordinate of the trials.
    """
    names = [label] if isinstance(label, str) else list(label)
    if not names:
        raise DataError("expected at least one label, got an empty list.")
    columns: list[np.ndarray] = []
    for name in names:
        if name not in dataset.coords or dataset[name].dims != ("trial",):
            known = trial_labels(dataset)
            raise DataError(
                f"no trial label {name!r} for subject {subject!r}; "
                f"it has: {', '.join(map(repr, known)) or 'none'}.{close_match(name, known)}"
            )
        columns.append(np.asarray(dataset[name].values))
    if len(columns) == 1:
        return columns[0]
    return np.array(["|".join(map(str, row)) for row in zip(*columns, strict=True)], dtype=str)


def trial_labels(dataset: xr.Dataset) -> list[str]:
    """Name the coordinates that describe trials, without trial ids and clock times."""
    clock = {"trial", "onset", "start", "stop"}
    return [
        str(name)
        for name, coord in dataset.coords.items()
        if coord.dims == ("trial",) and name not in clock
    ]
