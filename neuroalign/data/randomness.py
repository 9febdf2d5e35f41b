"""Random streams that depend on a seed and on a name, never on the order of the subjects."""

from __future__ import annotations

import zlib

import numpy as np

from neuroalign.errors import ParameterError

RandomState = int | np.random.Generator | None


def resolve_seed(random_state: RandomState) -> int:
    """Turn `random_state` into one whole number from which all streams of a call derive.

    Parameters
    ----------
    random_state : int, Generator or None
        A number is taken as it is, a Generator gives its next number, None asks the system.

    Raises
    ------
    ParameterError
        If it is none of these, or negative.

    Examples
    --------
    >>> resolve_seed(7)
    7
    """
    if random_state is None:
        return int(np.random.default_rng().integers(2**63))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63))
    if isinstance(random_state, bool | np.bool_) or not isinstance(random_state, int | np.integer):
        raise ParameterError(
            f"random_state must be a whole number, a numpy Generator or None, got {random_state!r}."
        )
    if random_state < 0:
        raise ParameterError(f"random_state must not be negative, got {random_state}.")
    return int(random_state)


def named_generator(seed: int, *names: str) -> np.random.Generator:
    """Return the generator that belongs to a seed and to names such as a subject's.

    Two names get independent streams, and a name gets the same stream whoever stands beside it.

    Parameters
    ----------
    seed : int
        What `resolve_seed` returned.
    *names : str
        For example a purpose and a subject.

    Examples
    --------
    >>> first = named_generator(0, "split", "mitt").integers(100, size=3)
    >>> again = named_generator(0, "split", "mitt").integers(100, size=3)
    >>> bool((first == again).all())
    True
    """
    keys = [zlib.crc32(name.encode("utf-8")) for name in names]
    return np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=tuple(keys)))
