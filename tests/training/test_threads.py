"""A fit uses as many threads as its products are worth, and puts back what was set."""

from collections.abc import Iterator

import pytest
import torch

from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.networks import MultilayerPerceptron
from neuroalign.nn.random import RandomStreams
from neuroalign.training.threads import WORK_OF_A_THREAD, helpful_threads, threads_that_help

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def eight_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


def networks(n_in: int, n_out: int, replicates: int = 1) -> MultimodalVAE:
    network = MultilayerPerceptron(n_in, (), n_out, RandomStreams(range(replicates)))
    return MultimodalVAE([network], [network], [])


@pytest.mark.parametrize(
    ("size", "replicates", "expected"),
    [
        ((64, 60), 1, 1),  # 0.5 million multiplications
        ((64, 920), 1, 2),  # 7.5
        ((64, 920), 3, 6),  # replicates are computed side by side
        ((1000, 1000), 1, 8),  # 128, but torch has no more
    ],
)
def test_threads_grow_with_the_largest_product(
    size: tuple[int, int], replicates: int, expected: int
) -> None:
    assert WORK_OF_A_THREAD == 4_000_000
    assert helpful_threads(networks(*size, replicates), batch_size=128) == expected


def test_what_was_set_comes_back_also_after_an_error() -> None:
    small = networks(64, 60)
    with threads_that_help(small, 128, CPU):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 8
    with pytest.raises(KeyError), threads_that_help(small, 128, CPU):
        raise KeyError
    assert torch.get_num_threads() == 8


def test_convolutions_and_gpus_are_left_alone() -> None:
    small = networks(64, 60)
    with threads_that_help(small, 128, torch.device("cuda")):
        assert torch.get_num_threads() == 8
    images = MultimodalVAE([torch.nn.Conv2d(3, 4, 3)], [torch.nn.Conv2d(3, 4, 3)], [])
    assert helpful_threads(images, 128) == 8
