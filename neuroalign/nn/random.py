"""Random numbers drawn from one generator per replicate, never from torch's global one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass
class _Held:
    """A generator that several streams share, so that it can be replaced for all of them."""

    generator: torch.Generator


class RandomStreams:
    """One random generator per replicate, so that a replicate draws as it would alone.

    Every draw has a leading replicate dimension; replicate r of it depends only on seed r
    (and on the keys of the last `reseed`), not on how many replicates there are.

    Parameters
    ----------
    seeds : sequence of int
        One seed per replicate.
    device : torch.device or str
        Where the numbers are drawn.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
    ) -> None:
        self.seeds = tuple(int(seed) for seed in seeds)
        self.device = torch.device(device)
        self.held = [_Held(torch.Generator(device=self.device)) for _ in self.seeds]
        self.reseed(0)

    @classmethod
    def _of(
        cls, seeds: Sequence[int], device: torch.device, held: Sequence[_Held]
    ) -> RandomStreams:
        streams = cls.__new__(cls)
        streams.seeds, streams.device, streams.held = tuple(seeds), device, list(held)
        return streams

    @property
    def n_replicates(self) -> int:
        """How many replicates draw side by side."""
        return len(self.seeds)

    @property
    def generators(self) -> Sequence[torch.Generator]:
        """The generator of each replicate."""
        return tuple(held.generator for held in self.held)

    def states(self) -> list[Tensor]:
        """Return where every generator stands."""
        return [generator.get_state() for generator in self.generators]

    def set_states(self, states: Sequence[Tensor]) -> None:
        """Put every generator where it stood."""
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state)

    def renew(self, states: Sequence[Tensor]) -> None:
        """Take new generators in place of those that are unfit, and put them at these states.

        Whoever shares the generators shares the new ones as well.
        """
        for held in self.held:
            held.generator = torch.Generator(device=self.device)
        self.set_states(states)

    def part(self, start: int, stop: int, total: int) -> RandomStreams:
        """Return streams that draw what rows `start` to `stop` of a batch of `total` would get.

        Drawing from them moves these on as if the whole batch had drawn.
        """
        return _PartOfRows(self, start, stop, total)

    def only(self, replicates: Sequence[int]) -> RandomStreams:
        """Return the streams of these replicates; drawing from them moves these on as well."""
        return RandomStreams._of(
            [self.seeds[r] for r in replicates], self.device, [self.held[r] for r in replicates]
        )

    def reseed(self, *keys: int) -> None:
        """Set every generator to a state that depends on its seed and on `keys` alone.

        Called with the epoch's number, it makes a fit resumable without storing the state of
        any generator.
        """
        for seed, generator in zip(self.seeds, self.generators, strict=True):
            words = np.random.SeedSequence([seed, *keys]).generate_state(2, np.uint32)
            # torch keeps 64 bits of seed on the CPU and on CUDA; 63 keep it positive everywhere
            generator.manual_seed((int(words[0]) << 31) ^ int(words[1]))

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32, row_axis: int = 0) -> Tensor:
        """Draw standard normal numbers of shape (replicate, *shape); rows lie along `row_axis`."""
        del row_axis  # matters to those who draw for a part of the rows
        return torch.stack(
            [
                torch.randn(shape, generator=generator, device=self.device, dtype=dtype)
                for generator in self.generators
            ]
        )

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw numbers uniform on [0, 1) of shape (replicate, *shape)."""
        return torch.stack(
            [
                torch.rand(shape, generator=generator, device=self.device, dtype=dtype)
                for generator in self.generators
            ]
        )

    def coins(self, share: float, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw ones with probability `share`, rounded to a multiple of 1/256, and zeros otherwise.

        Eight coins come from each random word, and arithmetic stays in floating point: on a
        CPU that is several times faster than comparing as many uniform numbers.
        """
        number = math.prod(shape)
        ones = round(256.0 * share)
        draws = [self._bytes(generator, number, dtype) for generator in self.generators]
        # (byte + ones) / 256 reaches 1 for `ones` of the 256 values of a byte
        flat = torch.stack(draws).add_(ones).mul_(1.0 / 256.0).floor_()
        return flat.reshape(-1, *shape)

    def _bytes(self, generator: torch.Generator, number: int, dtype: torch.dtype) -> Tensor:
        words = torch.empty((number + 7) // 8, dtype=torch.int64, device=self.device)
        words.random_(-(2**63), None, generator=generator)
        return words.view(torch.uint8)[:number].to(dtype)

    def permutation(self, *shape: int) -> Tensor:
        """Draw permutations of the last dimension, of shape (replicate, *shape)."""
        return self.uniform(*shape, dtype=torch.float64).argsort(dim=-1)

    def spread(self, n_rows: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw numbers on [0, 1) for rows, (replicate, row): one in each of as many equal parts."""
        turn = self.permutation(n_rows).to(dtype)
        return (turn + self.uniform(n_rows, dtype=dtype)) / n_rows


class _PartOfRows(RandomStreams):
    """Draws for all rows of a batch and hands out those of a part of them."""

    def __init__(self, whole: RandomStreams, start: int, stop: int, total: int) -> None:
        self.seeds, self.device, self.held = whole.seeds, whole.device, whole.held
        self._whole, self._start, self._stop, self._total = whole, start, stop, total

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32, row_axis: int = 0) -> Tensor:
        drawn = self._whole.normal(*self._all_rows(shape, row_axis), dtype=dtype)
        return drawn.narrow(row_axis + 1, self._start, self._stop - self._start)

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return self._rows_of(self._whole.uniform(*self._all_rows(shape, 0), dtype=dtype))

    def coins(self, share: float, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return self._rows_of(self._whole.coins(share, *self._all_rows(shape, 0), dtype=dtype))

    def spread(self, n_rows: int, dtype: torch.dtype = torch.float32) -> Tensor:
        (total,) = self._all_rows((n_rows,), 0)
        return self._rows_of(self._whole.spread(total, dtype))

    def permutation(self, *shape: int) -> Tensor:
        raise NotImplementedError("a part of the rows cannot draw an order of all of them")

    def only(self, replicates: Sequence[int]) -> RandomStreams:
        return self._whole.only(replicates).part(self._start, self._stop, self._total)

    def _all_rows(self, shape: Sequence[int], row_axis: int) -> tuple[int, ...]:
        if shape[row_axis] != self._stop - self._start:
            raise ValueError(f"expected {self._stop - self._start} rows, got shape {tuple(shape)}")
        return (*shape[:row_axis], self._total, *shape[row_axis + 1 :])

    def _rows_of(self, drawn: Tensor) -> Tensor:
        return drawn.narrow(1, self._start, self._stop - self._start)
