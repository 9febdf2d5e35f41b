"""Several processes that train one fit together, or share many, as `torchrun` starts them."""

from __future__ import annotations

import contextlib
import contextvars
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from neuroalign.errors import ParameterError

Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """The processes that work together, as one of them sees them.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    number : int
        How many there are; with one, nothing is shared.
    local_rank : int
        Number of this process among those of its machine, and of the GPU it takes.
    """

    rank: int = 0
    number: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and talks."""
        return self.rank == 0

    def share(self, total: int) -> tuple[int, int]:
        """Return where this process's part of `total` rows begins and ends; parts are about equal."""
        return self.rank * total // self.number, (self.rank + 1) * total // self.number

    def agree(self, value: Value) -> Value:
        """Return what the first process has."""
        if self.number == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def gather(self, value: Value) -> list[Value]:
        """Return what all processes have, in their order."""
        if self.number == 1:
            return [value]
        held: list[Any] = [None] * self.number
        dist.all_gather_object(held, value)
        return held

    def wait(self) -> None:
        """Go on when all processes have come here."""
        self.gather(None)

    def add_up(self, *tensors: Tensor) -> None:
        """Replace tensors by their sums over all processes."""
        for tensor in tensors:
            dist.all_reduce(tensor)


ALONE = Processes()
_active: contextvars.ContextVar[Processes] = contextvars.ContextVar("processes", default=ALONE)


def active_processes() -> Processes:
    """Return the processes that work together here; one where `distributed` was not entered."""
    return _active.get()


@contextlib.contextmanager
def working_alone() -> Iterator[None]:
    """Let what is inside be done by this process alone, on its own GPU."""
    token = _active.set(Processes(local_rank=_active.get().local_rank))
    try:
        yield
    finally:
        _active.reset(token)


@contextlib.contextmanager
def distributed(*, timeout: float = 1800.0) -> Iterator[Processes]:
    """Let the processes that `torchrun` started work together on what is inside.

    Inside, a single fit spreads the rows of every batch over the processes
    (DistributedDataParallel): all of them must call it with the same windows, settings and
    `random_state`, and all end with the same model, which is that of one process up to the
    rounding of sums. `fit_many` and `sweep` give whole fits to processes instead. A process
    takes the GPU of its own number where ``device="auto"``. Without `torchrun`, or with one
    process, nothing changes.

    Only the first process should write files and print (`processes.is_first`).

    Parameters
    ----------
    timeout : float
        Seconds that a process waits for the others before it gives up.

    Yields
    ------
    Processes
        `rank`, `number`, and `is_first`.

    Raises
    ------
    ParameterError
        If the environment that `torchrun` sets is incomplete.

    Examples
    --------
    In a script that is started by ``torchrun --nproc-per-node 2 script.py``:

    >>> import neuroalign as na
    >>> with na.distributed() as processes:
    ...     recordings, _ = na.simulate_recordings(
    ...         units={"ada": 12, "bob": 10}, trials=40, random_state=0
    ...     )
    ...     windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    ...     model = na.SharedLatentModel(2, max_epochs=2, random_state=0, verbose=False)
    ...     fitted = model.fit(windows, label="odor")
    ...     if processes.is_first:
    ...         print(processes.number)
    1
    """
    found = _environment()
    if found.number == 1:
        yield found
        return
    own = not dist.is_initialized()
    if own:
        with_gpu = torch.cuda.is_available()
        if with_gpu:
            torch.cuda.set_device(found.local_rank)
        # gloo carries what lies on the CPU: decisions and finished fits
        backend = "cpu:gloo,cuda:nccl" if with_gpu else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    token = _active.set(found)
    try:
        yield found
        found.wait()  # whoever is done first must not take the meeting point away
    finally:
        _active.reset(token)
        if own:
            dist.destroy_process_group()


def _environment() -> Processes:
    """Read what `torchrun` sets."""
    if "WORLD_SIZE" not in os.environ:
        return ALONE
    try:
        return Processes(
            int(os.environ["RANK"]),
            int(os.environ["WORLD_SIZE"]),
            int(os.environ.get("LOCAL_RANK", "0")),
        )
    except (KeyError, ValueError) as problem:
        raise ParameterError(
            "expected the environment variables RANK and WORLD_SIZE as whole numbers, as "
            f"torchrun sets them, got a problem with {problem}; start the script with "
            "`torchrun --nproc-per-node 2 script.py`, or unset WORLD_SIZE."
        ) from problem
