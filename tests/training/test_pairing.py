"""Rows: labels match, every trial comes round, and replicates draw as they would alone."""

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroalign.nn.random import RandomStreams
from neuroalign.training.pairing import FixedRows, ResampledRows


def members(sizes: list[list[int]]) -> list[list[torch.Tensor]]:
    """Give every modality's labels consecutive trials, `sizes[modality][label]` of them."""
    result = []
    for modality in sizes:
        bounds = torch.tensor([0, *modality]).cumsum(0)
        result.append([torch.arange(int(a), int(b)) for a, b in itertools.pairwise(bounds)])
    return result


def label_of(trial: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    return torch.bucketize(trial, torch.tensor(sizes).cumsum(0), right=True)


@given(
    sizes=st.lists(st.lists(st.integers(1, 7), min_size=3, max_size=3), min_size=2, max_size=4),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_resampled_rows_match_labels_and_windows_and_use_every_trial(
    sizes: list[list[int]], seed: int
) -> None:
    n_windows = 3
    plan = ResampledRows(members(sizes), n_windows)
    rows = plan.draw(RandomStreams([seed, seed + 1]))
    largest = [max(s[label] for s in sizes) for label in range(3)]
    assert rows.present is None
    assert rows.index.shape == (2, plan.n_rows, len(sizes))
    assert plan.n_rows == sum(largest) * n_windows
    trial, window = rows.index // n_windows, rows.index % n_windows
    assert (window == window[..., :1]).all()
    labels = torch.stack(
        [label_of(trial[..., m].contiguous(), s) for m, s in enumerate(sizes)], dim=-1
    )
    assert (labels == labels[..., :1]).all()
    for m, modality in enumerate(sizes):
        for w in range(n_windows):
            used = trial[0, :, m][window[0, :, m] == w].bincount(minlength=sum(modality))
            for label, size in enumerate(modality):
                times = used[label_of(torch.arange(sum(modality)), modality) == label]
                assert int(times.sum()) == largest[label]
                assert int(times.max() - times.min()) <= 1, (times, size)


def test_partners_are_drawn_anew_and_depend_on_the_seed_alone() -> None:
    plan = ResampledRows(members([[4, 5], [6, 3]]), 2)
    both, alone = RandomStreams([1, 2]), RandomStreams([2])
    both.reseed(1)
    alone.reseed(1)
    first = plan.draw(both).index
    assert torch.equal(first[1:], plan.draw(alone).index)
    both.reseed(2)
    second = plan.draw(both).index

    def partnerships(index: torch.Tensor) -> set[tuple[int, ...]]:
        return {tuple(row.tolist()) for row in index[0]}

    assert partnerships(first) != partnerships(second)


def test_a_missing_label_makes_the_modality_absent_from_its_rows() -> None:
    plan = ResampledRows(members([[3, 0], [2, 4]]), 2)
    rows = plan.draw(RandomStreams([0]))
    assert rows.present is not None
    trial = rows.index[0, :, 1] // 2
    assert torch.equal(rows.present[0, :, 0], trial < 2)
    assert rows.present[..., 1].all()


def test_fixed_rows_keep_their_partners() -> None:
    trials = torch.tensor([[0, 2], [1, 0], [2, 1]])
    plan = FixedRows(trials, n_windows=2)
    rows = plan.draw(RandomStreams([0])).index[0]
    expected = {(2 * a + w, 2 * b + w) for a, b in trials.tolist() for w in range(2)}
    assert {tuple(row.tolist()) for row in rows} == expected
    assert plan.n_rows == 6


def test_fixed_rows_carry_presence_along() -> None:
    trials = torch.tensor([[0, 0], [1, 0]])
    present = torch.tensor([[True, True], [True, False]])
    rows = FixedRows(trials, 3, present).draw(RandomStreams([0]))
    assert rows.present is not None
    assert torch.equal(rows.present[0, :, 1], rows.index[0, :, 0] < 3)


def test_donors_share_label_and_window_with_the_first() -> None:
    sizes = [[4, 5], [6, 3]]
    rows = ResampledRows(members(sizes), 2, donors=True).draw(RandomStreams([0, 1]))
    assert rows.donor is not None
    assert torch.equal(rows.donor % 2, rows.index % 2)
    for m, modality in enumerate(sizes):
        mine, theirs = (
            label_of((t[..., m] // 2).contiguous(), modality) for t in (rows.index, rows.donor)
        )
        assert torch.equal(mine, theirs)
    assert not torch.equal(rows.index, rows.donor)
    part = rows.batch(3, 7)
    assert part.donor is not None
    assert torch.equal(part.donor, rows.donor[:, 3:7])
