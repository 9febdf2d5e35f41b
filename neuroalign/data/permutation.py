"""Labels permuted over whole trials: what every null starts from."""

from __future__ import annotations

import xarray as xr

from neuroalign.data.randomness import RandomState, named_generator, resolve_seed
from neuroalign.data.trial_selection import check_trial_tree
from neuroalign.errors import DataError
from neuroalign.schema import map_subjects


def permute_labels(
    tree: xr.DataTree, label: str, *, keep_as: str | None = None, random_state: RandomState = None
) -> xr.DataTree:
    """Permute a label over the trials of each subject, windows and counts left as they are.

    Fitting to permuted labels is the model null; decoding them is the decoder null.

    Parameters
    ----------
    tree : DataTree
        Any stage.
    label : str
        Trial coordinate to permute.
    keep_as : str, optional
        Name under which the true label stays beside the permuted one.
    random_state : int, Generator or None
        Seed; a subject's permutation does not depend on the others.

    Returns
    -------
    DataTree
        A tree of the same stage.

    Raises
    ------
    DataError
        If a subject lacks the label, or has something of the name `keep_as`.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 3}, trials=20, random_state=0)
    >>> null = na.permute_labels(recordings, "odor", keep_as="true_odor", random_state=0)
    >>> sorted(null["ada"]["odor"].values) == sorted(null["ada"]["true_odor"].values)
    True
    """
    check_trial_tree(tree)
    seed = resolve_seed(random_state)

    def permute(subject: str, data: xr.Dataset) -> xr.Dataset:
        if label not in data.coords or data[label].dims != ("trial",):
            raise DataError(f"expected a trial label {label!r}, missing for subject {subject!r}.")
        if keep_as is not None and keep_as in data.variables:
            raise DataError(f"subject {subject!r} has a {keep_as!r} already; give another keep_as.")
        order = named_generator(seed, "permute", subject).permutation(data.sizes["trial"])
        kept = {} if keep_as is None else {keep_as: ("trial", data[label].values)}
        return data.assign_coords({**kept, label: ("trial", data[label].values[order])})

    return map_subjects(tree, permute)
