"""Random numbers drawn from one generator per replicate, never from torch's global one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


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
    generators : sequence of Generator, optional
        One per seed, as they stand; made and seeded if not given.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        *,
        generators: Sequence[torch.Generator] | None = None,
    ) -> None:
        self.seeds = tuple(int(seed) for seed in seeds)
        self.device = torch.device(device)
        if generators is not None:
            self._generators = list(generators)
            return
        self._generators = [torch.Generator(device=self.device) for _ in self.seeds]
        self.reseed(0)

    @property
    def n_replicates(self) -> int:
        """How many replicates draw side by side."""
        return len(self.seeds)

    def only(self, replicates: Sequence[int]) -> RandomStreams:
        """Return the streams of these replicates; drawing from them moves these on as well."""
        return RandomStreams(
            [self.seeds[r] for r in replicates],
            self.device,
            generators=[self._generators[r] for r in replicates],
        )

    def reseed(self, *keys: int) -> None:
        """Set every generator to a state that depends on its seed and on `keys` alone.

        Called with the epoch's number, it makes a fit resumable without storing the state of
        any generator.
        """
        for seed, generator in zip(self.seeds, self._generators, strict=True):
            words = np.random.SeedSequence([seed, *keys]).generate_state(2, np.uint32)
            # torch keeps 64 bits of seed on the CPU and on CUDA; 63 keep it positive everywhere
            generator.manual_seed((int(words[0]) << 31) ^ int(words[1]))

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw standard normal numbers of shape (replicate, *shape)."""
        return torch.stack(
            [
                torch.randn(shape, generator=generator, device=self.device, dtype=dtype)
                for generator in self._generators
            ]
        )

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw numbers uniform on [0, 1) of shape (replicate, *shape)."""
        return torch.stack(
            [
                torch.rand(shape, generator=generator, device=self.device, dtype=dtype)
                for generator in self._generators
            ]
        )

    def coins(self, share: float, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw ones with probability `share`, rounded to a multiple of 1/256, and zeros otherwise.

        Eight coins come from each random word, and arithmetic stays in floating point: on a
        CPU that is several times faster than comparing as many uniform numbers.
        """
        number = math.prod(shape)
        ones = round(256.0 * share)
        draws = [self._bytes(generator, number, dtype) for generator in self._generators]
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
