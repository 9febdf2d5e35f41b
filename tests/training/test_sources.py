"""Windows gathered on the device against windows written out."""

import numpy as np
import torch

from neuroalign.nn.frozen import StoredPosterior
from neuroalign.nn.random import RandomStreams
from neuroalign.training.sources import FeatureScaling, Mixing, PosteriorSource, WindowSource


def make(
    target_counts: bool = False, square_root: bool = True
) -> tuple[np.ndarray, np.ndarray, WindowSource]:
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (6, 9, 4)).astype(np.uint8)
    starts = np.array([0, 2, 5])
    n_features = 3 * 4
    scaling = FeatureScaling(
        square_root,
        torch.linspace(0, 1, n_features),
        torch.cat([torch.zeros(1), torch.ones(n_features - 1) * 2]),
    )
    source = WindowSource(
        torch.from_numpy(counts), torch.from_numpy(starts), 3, scaling, target_counts=target_counts
    )
    return counts, starts, source


def test_gathered_windows_equal_windows_written_out() -> None:
    counts, starts, source = make()
    index = torch.tensor([[0, 5, 17], [3, 3, 10]])
    written = np.stack(
        [
            [counts[i // 3, starts[i % 3] : starts[i % 3] + 3].reshape(-1) for i in row]
            for row in index.tolist()
        ]
    )
    np.testing.assert_array_equal(source.window_counts(index).numpy(), written)
    expected = (
        np.sqrt(written.astype(float)) - source.scaling.shift.numpy()
    ) * source.scaling.gain.numpy()
    features, target = source.gather(index)
    np.testing.assert_allclose(features.numpy(), expected, rtol=1e-5)
    assert target is features
    assert source.n_examples == 18


def test_count_likelihoods_see_counts() -> None:
    _, _, source = make(target_counts=True, square_root=False)
    features, target = source.gather(torch.tensor([[4, 7]]))
    assert torch.equal(target, source.window_counts(torch.tensor([[4, 7]])))
    assert not torch.equal(features, target)


def test_windows_share_the_memory_of_the_counts() -> None:
    _, _, source = make()
    assert source._pieces.untyped_storage().data_ptr() == source.counts.untyped_storage().data_ptr()


def test_scaling_can_be_undone_and_constant_features_come_back() -> None:
    _, _, source = make()
    values = torch.rand(5, 12) * 3
    back = source.scaling.undo(source.scaling(values.clone()))
    torch.testing.assert_close(back[:, 1:], values.sqrt()[:, 1:])
    assert (back[:, 0] == source.scaling.shift[0]).all()


def test_mixing_takes_whole_units_from_the_donor() -> None:
    _, _, source = make(target_counts=True, square_root=False)
    index, donor = torch.tensor([[0, 5, 17]]), torch.tensor([[3, 2, 8]])
    own = source.window_counts(index).reshape(1, 3, 3, 4)
    other = source.window_counts(donor).reshape(1, 3, 3, 4)
    for share, expected in ((0.0, own), (1.0, other)):
        _, counts = source.gather(index, Mixing(donor, share, RandomStreams([0])))
        assert torch.equal(counts.reshape(1, 3, 3, 4), expected)
    _, counts = source.gather(index, Mixing(donor, 0.5, RandomStreams([0])))
    mixed = counts.reshape(1, 3, 3, 4)
    from_own, from_other = (mixed == own).all(-2), (mixed == other).all(-2)
    assert (from_own | from_other).all()
    assert (~from_own).any()
    assert (~from_other).any()


def test_stored_posteriors_come_back_as_they_were_stored() -> None:
    n_trials, n_windows, n_latents = 4, 3, 2
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(n_trials, n_windows, n_latents, generator=generator, dtype=torch.float64)
    scale = torch.rand(n_trials, n_windows, n_latents, generator=generator, dtype=torch.float64)
    source = PosteriorSource(mean, scale)
    assert source.n_examples == n_trials * n_windows
    index = torch.tensor([[0, 5, 11], [7, 7, 3]])
    inputs, targets = source.gather(index)
    assert torch.equal(inputs, targets)
    posterior = StoredPosterior()(inputs)
    for place, example in np.ndenumerate(index.numpy()):
        trial, window = divmod(int(example), n_windows)
        assert torch.equal(posterior.mean[place], mean[trial, window])
        assert torch.equal(posterior.scale[place], scale[trial, window])


def test_stored_posteriors_are_never_mixed() -> None:
    source = PosteriorSource(torch.randn(4, 3, 2), torch.rand(4, 3, 2))
    index, donor = torch.tensor([[0, 5, 11]]), torch.tensor([[3, 8, 2]])
    streams = RandomStreams([0])
    mixed, _ = source.gather(index, Mixing(donor, 1.0, streams))
    assert torch.equal(mixed, source.gather(index)[0])
    # nor do they use up numbers that others would draw
    assert torch.equal(streams.normal(2), RandomStreams([0]).normal(2))


def test_scaling_that_moves_nothing_is_the_same_and_takes_no_copy() -> None:
    counts = torch.arange(12.0).reshape(2, 6)
    for square_root in (False, True):
        general = FeatureScaling(square_root, torch.zeros(6), torch.ones(6))
        short = FeatureScaling(square_root, torch.zeros(6), torch.ones(6), moved=False)
        assert torch.equal(short(counts), general(counts))
        assert short.to(torch.device("cpu"), torch.float64).moved is False
    assert FeatureScaling(False, torch.zeros(6), torch.ones(6), moved=False)(counts) is counts
