"""Random streams: coins, and that replicates draw as they would alone."""

import pytest
import torch

from neuroalign.nn.random import RandomStreams


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_coins_fall_as_often_as_they_should(share: float) -> None:
    streams = RandomStreams([3, 4])
    coins = streams.coins(share, 1000, 101)  # no multiple of the eight coins of a word
    assert coins.shape == (2, 1000, 101)
    assert set(coins.unique().tolist()) <= {0.0, 1.0}
    rounded = round(256 * share) / 256
    error = (rounded * (1 - rounded) / coins[0].numel()) ** 0.5
    for replicate in coins:
        assert abs(float(replicate.mean()) - rounded) <= 5 * error
        # neighbours come from bytes of one word, and must not know of each other
        first, second = replicate[:, :-1].flatten(), replicate[:, 1:].flatten()
        both = float((first * second).mean())
        assert abs(both - rounded**2) <= 5 * error


def test_coins_of_a_replicate_do_not_depend_on_the_others() -> None:
    together = RandomStreams([3, 4, 5]).coins(0.4, 7, 9)
    torch.testing.assert_close(together[1:2], RandomStreams([4]).coins(0.4, 7, 9))
    assert not torch.equal(together[0], together[1])
