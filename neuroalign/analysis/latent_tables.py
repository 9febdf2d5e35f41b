"""Latents as pandas tables and plain arrays, and back: the way to and from other tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from neuroalign.data.columns import plain_column
from neuroalign.errors import DataError
from neuroalign.schema import build_tree, iterate_subjects, validate

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["latents_from_arrays", "latents_from_frame", "latents_to_frame"]

DIMS: Final = ("trial", "window", "latent")
KEYS: Final = ("subject", "trial", "window")
PREFIX: Final = {"mean": "latent_", "scale": "scale_"}
CARRIED: Final = (
    "spec",
    "bin_width",
    "frame_start",
    "frame_stop",
    "window_length",
    "window_step",
)


def latents_to_frame(latents: xr.DataTree) -> pd.DataFrame:
    """Lay out latents as a table with one row per subject, trial and window.

    Parameters
    ----------
    latents : DataTree
        Latents stage.

    Returns
    -------
    DataFrame
        Columns `subject`, `trial`, `window` (start of the window in seconds after the frame's
        start), every coordinate of the trials (labels, `onset` and the like), `latent_<name>`
        with the mean and, where there is one, `scale_<name>` with the scale of every latent.
        Where subjects have latents or labels of other names, what one does not have is missing.

    Raises
    ------
    DataError
        If these are no latents, or a trial coordinate is called like one of these columns.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 6}, trials=20, random_state=0)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> latents = na.PrincipalComponents(2).fit(windows, label="odor").transform(windows)
    >>> table = na.latents_to_frame(latents)
    >>> table.columns[[0, 1, 2, -2, -1]].tolist()
    ['subject', 'trial', 'window', 'latent_ada PC1', 'latent_ada PC2']
    """
    import pandas as pd

    validate(latents, "latents", argument="latents")
    return pd.concat(
        [_rows(data, name) for name, data in iterate_subjects(latents)], ignore_index=True
    )


def _rows(data: xr.Dataset, subject: str) -> pd.DataFrame:
    import pandas as pd

    n_trials, n_windows, n_latents = (data.sizes[dim] for dim in DIMS)
    columns: dict[str, Any] = {
        "subject": np.full(n_trials * n_windows, subject),
        "trial": np.repeat(data["trial"].values, n_windows),
        "window": np.tile(data["window"].values, n_trials),
    }
    of_trials = {
        str(name): np.repeat(coord.values, n_windows)
        for name, coord in data.coords.items()
        if coord.dims == ("trial",) and name != "trial"
    }
    named = data["latent"].values if "latent" in data.coords else np.arange(n_latents)
    values = {
        f"{prefix}{latent}": data[variable].values[:, :, number].ravel()
        for variable, prefix in PREFIX.items()
        if variable in data and data[variable].dims == DIMS
        for number, latent in enumerate(named)
    }
    taken = set(of_trials) & {*columns, *values}
    if taken:
        raise DataError(
            f"the trials of subject {subject!r} have a coordinate {min(taken)!r}, which is the "
            "name of another column of the table; rename it."
        )
    return pd.DataFrame(columns | of_trials | values)


def latents_from_frame(frame: pd.DataFrame, *, latents: Sequence[str] | None = None) -> xr.DataTree:
    """Read latents back from a table with one row per subject, trial and window.

    Parameters
    ----------
    frame : DataFrame
        As `latents_to_frame` gives it, or any table with columns `subject`, `trial`, `window`
        and latents. Rows may come in any order. All other columns describe trials.
    latents : sequence of str, optional
        Columns that are latents, which are then called so; by default those that begin with
        `latent_`, whose scales are those that begin with `scale_`. A column that holds nothing
        for a subject is no latent of that subject's.

    Returns
    -------
    DataTree
        Latents stage: `mean(trial, window, latent)`, and `scale` where there is one. Frames and
        windows (`frame_start` and the like) are not in a table and not restored.

    Raises
    ------
    DataError
        If a column is absent, a trial lacks a window or has it twice, latents are missing, or a
        column has several values within one trial.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame(
    ...     {
    ...         "subject": "ada", "trial": [0, 0, 1, 1], "window": [0.0, 0.1, 0.0, 0.1],
    ...         "odor": ["A", "A", "B", "B"], "umap": [0.5, 0.7, 2.5, 2.1],
    ...     }
    ... )
    >>> tree = latents_from_frame(table, latents=["umap"])
    >>> tree["ada"]["mean"].values[:, :, 0].tolist(), tree["ada"]["odor"].values.tolist()
    ([[0.5, 0.7], [2.5, 2.1]], ['A', 'B'])
    """
    if not hasattr(frame, "columns") or not hasattr(frame, "groupby"):
        raise DataError(f"frame must be a pandas DataFrame, got {type(frame).__name__}.")
    columns = [str(name) for name in frame.columns]
    prefix = PREFIX["mean"]
    wanted = [n for n in columns if n.startswith(prefix)] if latents is None else list(latents)
    missing = [name for name in (*KEYS, *wanted) if name not in columns]
    if missing or not wanted:
        raise DataError(
            f"the table has no column {', '.join(map(repr, missing)) or repr(prefix + '...')}; "
            f"it has: {', '.join(map(repr, columns))}. Name the columns that are latents with "
            "latents=[...]."
        )
    if not len(frame):
        raise DataError("the table has no rows; expected one per subject, trial and window.")
    return build_tree(
        {
            str(subject): _from_rows(rows, str(subject), wanted, named=latents is not None)
            for subject, rows in frame.groupby("subject", sort=False)
        }
    )


def _from_rows(
    rows: pd.DataFrame, subject: str, wanted: Sequence[str], *, named: bool
) -> xr.Dataset:
    trials, windows = rows["trial"].unique(), np.sort(rows["window"].unique())
    if len(rows) != trials.size * windows.size or rows.duplicated(["trial", "window"]).any():
        raise DataError(
            f"expected every trial of subject {subject!r} with each of {windows.size} windows "
            f"once, got {len(rows)} rows for {trials.size} trials; use the same windows for all."
        )
    place = {trial: number for number, trial in enumerate(trials.tolist())}
    order = np.lexsort((rows["window"].to_numpy(), rows["trial"].map(place).to_numpy()))
    ordered = rows.iloc[order]
    own = [name for name in wanted if ordered[name].notna().any()]
    names = own if named else [name.removeprefix(PREFIX["mean"]) for name in own]
    variables = {"mean": own}
    scales = [] if named else [PREFIX["scale"] + name for name in names]
    if scales and all(name in ordered and ordered[name].notna().all() for name in scales):
        variables["scale"] = scales
    shape = (trials.size, windows.size, len(own))
    values = {
        variable: (DIMS, _finite(ordered[columns].to_numpy(), subject).reshape(shape))
        for variable, columns in variables.items()
    }
    used = {*KEYS, *wanted, *scales}
    whole = all(name.isdigit() for name in names)
    coordinates = {
        "trial": ("trial", plain_column(trials)),
        "window": ("window", windows),
        "latent": ("latent", np.array(names, dtype=np.int64 if whole else str)),
    } | {
        str(name): ("trial", _of_trial(ordered[name], shape[:2], str(name), subject))
        for name in ordered.columns
        if str(name) not in used
        and not str(name).startswith(PREFIX["scale"])
        and ordered[name].notna().any()
    }
    return xr.Dataset(values, coords=coordinates, attrs={"stage": "latents", "subject": subject})


def _of_trial(
    column: pd.Series[Any], shape: tuple[int, int], name: str, subject: str
) -> npt.NDArray[Any]:
    try:
        values = plain_column(column).reshape(shape)
    except TypeError as error:
        raise DataError(
            f"column {name!r} of subject {subject!r} cannot be used: {error}."
        ) from error
    first = values[:, :1]
    missing = (values != values) & (first != first)  # noqa: PLR0124  (NaN, whatever the type)
    if not ((values == first) | missing).all():
        raise DataError(
            f"column {name!r} has several values within a trial of subject {subject!r}; it must "
            "describe trials, or be named among latents."
        )
    return np.ascontiguousarray(values[:, 0])


def latents_from_arrays(
    mean: Mapping[str, npt.ArrayLike],
    windows: xr.DataTree,
    *,
    scale: Mapping[str, npt.ArrayLike] | None = None,
    names: Sequence[str] | None = None,
    shared: bool = True,
) -> xr.DataTree:
    """Give an embedding that was computed elsewhere the trials, windows and labels it belongs to.

    The result goes wherever latents go: `decode_labels`, `plot_latents`, `latents_to_frame`. An
    embedding that was fitted to trials has seen them: fit it to training trials, and make
    latents of training and test trials apart.

    Parameters
    ----------
    mean : mapping
        Subject to its embedding: an array (trial, window, latent), or (trial · window, latent)
        with all windows of the first trial first, which is the order of
        `window_view(...).reshape(trials * windows, -1)`.
    windows : DataTree
        The windowed counts that were embedded, with the same trials in the same order.
    scale : mapping, optional
        Standard deviations, of the same shapes.
    names : sequence of str, optional
        Names of the latents.
    shared : bool, default=True
        Whether the subjects share one space. If not (a separate embedding of each), latents are
        named after their subject, and `decode_labels` reads them within subjects only.

    Returns
    -------
    DataTree
        Latents stage: `mean` (and `scale`) with all coordinates of trials and windows.

    Raises
    ------
    DataError
        If a subject is not in `windows`, a shape does not fit its trials and windows, numbers of
        latents differ between subjects of one space, or values are not finite.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 6}, trials=20, random_state=0)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> counts = na.window_view(windows["ada"].to_dataset())
    >>> embedding = counts.sum(axis=3).reshape(-1, 6)[:, :2]  # any tool's (samples, dimensions)
    >>> latents = na.latents_from_arrays({"ada": embedding}, windows)
    >>> latents["ada"]["mean"].shape == (*counts.shape[:2], 2), "odor" in latents["ada"].coords
    (True, True)
    """
    validate(windows, "windowed", argument="windows")
    if not isinstance(mean, Mapping) or not mean:
        raise DataError(f"mean must be a mapping subject -> array, got {type(mean).__name__}.")
    unknown = sorted(set(mean) - set(windows.children))
    if unknown or (scale is not None and set(scale) != set(mean)):
        raise DataError(
            f"latents must be of subjects of windows ({', '.join(windows.children)}), and scale of "
            f"the same as mean, got mean of {', '.join(mean)}"
            + (f" and scale of {', '.join(scale)}." if scale is not None else ".")
        )
    result = {}
    for subject, values in mean.items():
        data = windows[subject].to_dataset()
        variables = {"mean": (DIMS, _shaped(values, data, subject))}
        if scale is not None:
            variables["scale"] = (DIMS, _shaped(scale[subject], data, subject))
        result[subject] = _labelled(variables, data, subject, names, shared)
    numbers = {data.sizes["latent"] for data in result.values()}
    if shared and len(numbers) > 1:
        raise DataError(
            f"subjects of one space must have as many latents, got {sorted(numbers)}; pass "
            "shared=False for a separate embedding of each subject."
        )
    return build_tree(result)


def _shaped(values: npt.ArrayLike, data: xr.Dataset, subject: str) -> npt.NDArray[np.floating]:
    array = np.array(values)
    expected = data.sizes["trial"], data.sizes["window"]
    if array.dtype.kind not in "iuf":
        raise DataError(f"latents of subject {subject!r} must be numbers, got {array.dtype}.")
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    flat = array.ndim == 2 and array.shape[0] == expected[0] * expected[1]
    if not flat and (array.ndim != 3 or array.shape[:2] != expected):
        raise DataError(
            f"expected latents of shape {expected} + (latents,) or ({expected[0] * expected[1]}, "
            f"latents) for subject {subject!r}, as many as windows has trials and windows, got "
            f"{array.shape}."
        )
    return _finite(array.reshape(*expected, array.shape[-1]), subject)


def _finite(array: npt.NDArray[Any], subject: str) -> npt.NDArray[Any]:
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise DataError(
            f"expected finite numbers as latents of subject {subject!r}, got missing values, "
            "infinity or text; leave those trials out."
        )
    return array


def _labelled(
    variables: Mapping[str, tuple[tuple[str, ...], npt.NDArray[Any]]],
    data: xr.Dataset,
    subject: str,
    names: Sequence[str] | None,
    shared: bool,
) -> xr.Dataset:
    sizes = {values.shape[-1] for _, values in variables.values()}
    number = variables["mean"][1].shape[-1]
    if len(sizes) > 1 or (names is not None and len(names) != number):
        raise DataError(
            f"expected as many names and scales as latents for subject {subject!r}, got {number} "
            f"latents{'' if names is None else f' and {len(names)} names'}."
        )
    known = np.arange(number) if names is None else np.array(list(names), dtype=str)
    if not shared:
        known = np.array([f"{subject} {name}" for name in known.tolist()], dtype=str)
    kept = [n for n, c in data.coords.items() if c.dims in {("trial",), ("window",)}]
    carried = {name: data.attrs[name] for name in CARRIED if name in data.attrs}
    return xr.Dataset(
        dict(variables),
        coords={**{name: data[name].variable.copy() for name in kept}, "latent": known},
        attrs={"stage": "latents", "subject": subject, **carried},
    )
