"""Steps captured once as a CUDA graph and replayed, so that launching them costs nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from neuroalign.errors import NeuroAlignWarning
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.random import RandomStreams
from neuroalign.training.averaging import WeightAverage
from neuroalign.training.config import TrainingConfig
from neuroalign.training.pairing import Rows
from neuroalign.training.processes import ALONE, Processes
from neuroalign.training.sets import TrainingSet
from neuroalign.training.steps import Steps

WARM_UP: Final = 3  # steps before a capture: libraries set themselves up during the first ones
# how far a replayed step may be from the same step taken plainly: sums differ in their order
NEAR_TERMS: Final = 1e-3
NEAR_UPDATE: Final = 0.05


class Recorder(Protocol):
    """Records work on a device, so that it can be done again without its launches' cost."""

    def warm(self, work: Callable[[], None]) -> None:
        """Do work in the way in which it must be done before it is recorded."""
        ...

    def record(
        self, work: Callable[[], None], generators: Sequence[torch.Generator]
    ) -> Callable[[], None]:
        """Record work without doing it; return what does it."""
        ...


class CudaGraphs:
    """Records CUDA graphs."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm(self, work: Callable[[], None]) -> None:
        """Do work beside the main stream, as a capture will."""
        main = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(main)
        with torch.cuda.stream(self._stream):
            work()
        main.wait_stream(self._stream)

    def record(
        self, work: Callable[[], None], generators: Sequence[torch.Generator]
    ) -> Callable[[], None]:
        """Capture work as a graph whose replays draw on from these generators."""
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        torch.cuda.synchronize(self.device)
        with torch.cuda.graph(graph, stream=self._stream):
            work()
        return graph.replay


class CapturedSteps(Steps):
    """Takes the first steps plainly, then records one and replays it.

    What a step reads and writes lies in the same place at every step: a batch's rows are copied
    to where the recorded step looks for them. Everything else that may change, such as the
    weights of the objective's parts or the size of a batch, makes it record anew. Each recording
    is compared with the same step taken plainly; if it fails or differs, steps are taken plainly
    from then on, with a warning, and nothing is lost.

    Parameters
    ----------
    steps : Steps
        What takes a step plainly.
    recorder : Recorder
        Records one.
    """

    def __init__(self, *steps: Any, recorder: Recorder) -> None:
        super().__init__(*steps)
        self._recorder = recorder
        self._warm_steps = 0
        self._rows: Rows | None = None
        self._replay: Callable[[], None] | None = None
        self._key: tuple[object, ...] = ()
        self._plainly = False

    def take(self, batch: Rows) -> None:
        """Take one step on these rows."""
        key = (self.vae.options, batch.index.shape, batch.present is None, batch.donor is None)
        if self._plainly:
            self._work(batch)
        elif self._warm_steps < WARM_UP:
            self._recorder.warm(lambda: self._work(batch))
            self._warm_steps += 1
        elif self._replay is None or key != self._key:
            self._key = key
            self._record(batch)
        else:
            assert self._rows is not None
            _copy(batch, self._rows)
            self._replay()
        self.average.step()
        self._number += 1

    def _record(self, batch: Rows) -> None:
        """Record a step, and take this one twice: as recorded and plainly."""
        self._replay = None  # its memory is free for the next
        rows = _cloned(batch)
        held, before = self._state(), [value.clone() for value in self._state()]
        states = self.streams.states()
        try:
            replay = self._recorder.record(lambda: self._work(rows), self.streams.generators)
            replay()
            replayed = [value.clone() for value in held]
        except RuntimeError as problem:
            self._give_up(str(problem).partition("\n")[0])
            self.streams.renew(states)  # a capture that breaks off leaves them unusable
            _put_back(held, before)
            self._work(batch)
            return
        _put_back(held, before)
        self.streams.set_states(states)
        self._work(batch)
        if self._agree(before, replayed, held):
            self._rows, self._replay = rows, replay
        else:
            self._give_up("a recorded step differs from the same step taken plainly")

    def _state(self) -> list[Tensor]:
        """Return all that a step changes: sums first, then weights, then the optimiser's moments."""
        weights = [parameter.detach() for parameter in self.vae.parameters()]
        moments = [
            value
            for parameter in self.vae.parameters()
            for value in self.optimiser.state[parameter].values()
        ]
        return [self._reconstruction, self._regularisation, self._blamed, *weights, *moments]

    def _agree(
        self, before: Sequence[Tensor], replayed: Sequence[Tensor], taken: Sequence[Tensor]
    ) -> bool:
        n_weights = len(list(self.vae.parameters()))
        for was, first, second in list(zip(before, replayed, taken, strict=True))[:2]:
            far = ((first - second).abs() > NEAR_TERMS * (second - was).abs() + 1e-6).any()
            if bool(far) or not bool(torch.isfinite(second).all()):
                return False
        parts = list(zip(before, replayed, taken, strict=True))[3 : 3 + n_weights]
        apart = sum(float((first - second).square().sum()) for _, first, second in parts)
        moved = sum(float((second - was).square().sum()) for was, _, second in parts)
        return apart <= NEAR_UPDATE**2 * moved

    def _give_up(self, why: str) -> None:
        self._plainly, self._replay, self._rows = True, None, None
        warnings.warn(
            f"steps cannot be captured as a CUDA graph here ({why}); going on without, which "
            "gives the same result and takes longer.",
            NeuroAlignWarning,
            stacklevel=2,
        )


def steps_for(
    vae: MultimodalVAE,
    data: TrainingSet,
    config: TrainingConfig,
    optimiser: torch.optim.Optimizer,
    average: WeightAverage,
    streams: RandomStreams,
    processes: Processes = ALONE,
) -> Steps:
    """Return what takes steps best on the network's device."""
    parts = (vae, data, config, optimiser, average, streams, processes)
    # processes exchange gradients in the middle of a step, which a recording cannot hold
    if streams.device.type != "cuda" or processes.number > 1 or not config.capture:
        return Steps(*parts)
    return CapturedSteps(*parts, recorder=CudaGraphs(streams.device))


def _cloned(rows: Rows) -> Rows:
    present = None if rows.present is None else rows.present.clone()
    donor = None if rows.donor is None else rows.donor.clone()
    return Rows(rows.index.clone(), present, donor)


def _copy(rows: Rows, to: Rows) -> None:
    to.index.copy_(rows.index)
    if rows.present is not None and to.present is not None:
        to.present.copy_(rows.present)
    if rows.donor is not None and to.donor is not None:
        to.donor.copy_(rows.donor)


@torch.no_grad()
def _put_back(held: Sequence[Tensor], before: Sequence[Tensor]) -> None:
    for value, was in zip(held, before, strict=True):
        value.copy_(was)
