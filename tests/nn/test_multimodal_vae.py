"""The objective of several modalities: enumeration, who is absent, order, and appendix A.1."""

import copy
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal

from neuroalign.nn import sharing
from neuroalign.nn.count_likelihoods import NegativeBinomialLikelihood, PoissonLikelihood
from neuroalign.nn.divergences import pairwise_divergence, standard_divergence
from neuroalign.nn.frozen import NoDecoder, NoLikelihood, StoredPosterior
from neuroalign.nn.joint import aggregate, product_of_experts, subset_table, with_prior
from neuroalign.nn.likelihood_base import Likelihood
from neuroalign.nn.likelihoods import GaussianLikelihood, LearnedGaussianLikelihood
from neuroalign.nn.multimodal_vae import MultimodalVAE, ObjectiveRows, ObjectiveTerms
from neuroalign.nn.networks import Decoder, Encoder
from neuroalign.nn.random import RandomStreams
from neuroalign.nn.sharing import SHARING_RULES, SharingOptions

FEATURES = (4, 5, 3)
LATENTS = 2
# a fraction of each part of the MM-VAMP term, so that all of them are at work
MIXED = SharingOptions(mixture_share=0.5, mixture_samples=2, standard_weight=0.25)
RULES = sorted(SHARING_RULES)


def _vae(
    rule: str,
    seeds: Sequence[int] = (0,),
    *,
    features: Sequence[int] = FEATURES,
    weights: Sequence[float] | None = None,
    options: SharingOptions = MIXED,
) -> MultimodalVAE:
    streams = RandomStreams(seeds)
    likelihoods = [
        LearnedGaussianLikelihood(features[0], len(seeds)),
        NegativeBinomialLikelihood(features[1], len(seeds)),
        GaussianLikelihood(),
    ]
    return MultimodalVAE(
        [Encoder(n, (6,), LATENTS, streams) for n in features],
        [Decoder(LATENTS, (6,), n, streams) for n in features],
        likelihoods,
        sharing=rule,
        options=options,
        weights=weights,
    ).double()


def _data(
    rows: int, replicates: int = 1, *, features: Sequence[int] = FEATURES, identical: bool = False
) -> tuple[list[Tensor], list[Tensor]]:
    """Return inputs and targets; the second modality's targets are counts."""
    generator = torch.Generator().manual_seed(5)
    n_distinct = 1 if identical else rows
    inputs = [
        torch.randn(replicates, n_distinct, n, generator=generator, dtype=torch.float64)
        for n in features
    ]
    inputs = [x.expand(-1, rows, -1).contiguous() for x in inputs]
    targets = [inputs[0], (inputs[1].square() * 2.0).round(), inputs[2]]
    return inputs, targets


def _set_noise(patch: pytest.MonkeyPatch, noise: Callable[[Tensor], Tensor]) -> None:
    patch.setattr(sharing, "_noise", lambda like, _: noise(like))


def _parameters(vae: MultimodalVAE, modality: int) -> list[torch.nn.Parameter]:
    parts = (vae.encoders, vae.decoders, vae.likelihoods)
    return [p for part in parts for p in part[modality].parameters()]


def _gradients(vae: MultimodalVAE, terms: ObjectiveTerms) -> list[list[Tensor]]:
    """Return the objective's gradients of every modality's parameters."""
    for parameter in vae.parameters():
        parameter.grad = torch.zeros_like(parameter)
    terms.total(0.7).sum().backward()  # type: ignore[no-untyped-call]
    return [
        [p.grad for p in _parameters(vae, m) if p.grad is not None] for m in range(len(FEATURES))
    ]


def test_terms_are_averages_over_rows_and_add_up() -> None:
    weights = (2.0, 0.5, 1.0)
    inputs, targets = _data(6, 2)
    vae = _vae("independent", (3, 4), weights=weights)
    streams = RandomStreams([0, 1])
    noise = streams.normal(3, 6, LATENTS, dtype=torch.float64).transpose(0, 1)
    terms = vae(inputs, targets, RandomStreams([0, 1]), training=True)
    q = vae.encode(inputs)
    latents = q.mean + q.scale * noise
    for m in range(3):
        expected = weights[m] * _reconstructions(vae, latents[m], targets, m).mean(-1)
        torch.testing.assert_close(terms.reconstruction[m], expected)
    torch.testing.assert_close(terms.regularisation, standard_divergence(q).mean(-1))
    beta = torch.tensor([0.1, 3.0], dtype=torch.float64)
    expected = terms.reconstruction.sum(0) + beta * terms.regularisation
    torch.testing.assert_close(terms.total(beta), expected)


def _reconstructions(
    vae: MultimodalVAE, latents: Tensor, targets: Sequence[Tensor], modality: int
) -> Tensor:
    """Return −log p(x | z) of every row, (replicate, row), all from the same latents."""
    likelihood = vae.likelihoods[modality]
    assert isinstance(likelihood, Likelihood)
    parameters = vae.decoders[modality](latents)
    return -likelihood.log_prob(parameters, targets[modality]).sum(-1)


@pytest.mark.parametrize("absent", [None, 0, 1, 2])
def test_moe_reconstruction_is_the_average_over_experts(absent: int | None) -> None:
    inputs, targets = _data(6, 2)
    vae = _vae("moe", (3, 4))
    present = torch.ones(3, 2, 6, dtype=torch.bool)
    if absent is not None:
        present[absent] = False
    with pytest.MonkeyPatch.context() as patch:
        _set_noise(patch, torch.zeros_like)
        terms = vae(inputs, targets, RandomStreams([0, 1]), training=False, present=present)
    q = vae.encode(inputs)
    members = [m for m in range(3) if m != absent]
    for m in range(3):
        each = [_reconstructions(vae, q.mean[k], targets, m).mean(-1) for k in members]
        expected = torch.stack(each).mean(0) if m in members else torch.zeros(2).double()
        torch.testing.assert_close(terms.reconstruction[m], expected)


@pytest.mark.parametrize("absent", [None, 0, 1, 2])
def test_mopoe_reconstruction_is_the_average_over_subsets(absent: int | None) -> None:
    """With equal rows, 7 subsets (3 with one modality absent) come round equally often."""
    n_rows = 21
    inputs, targets = _data(n_rows, identical=True)
    vae = _vae("mopoe")
    present = torch.ones(3, 1, n_rows, dtype=torch.bool)
    if absent is not None:
        present[absent] = False
    with pytest.MonkeyPatch.context() as patch:
        _set_noise(patch, torch.zeros_like)
        terms = vae(inputs, targets, RandomStreams([2]), training=False, present=present)
    q = vae.encode(inputs)
    members = [m for m in range(3) if m != absent]
    products = []
    for size in range(1, len(members) + 1):
        for subset in map(list, itertools.combinations(members, size)):
            precision = (q.scale[subset] ** -2).sum(0)
            products.append((q.mean[subset] * q.scale[subset] ** -2).sum(0) / precision)
    assert len(products) == 2 ** len(members) - 1
    for m in range(3):
        each = [_reconstructions(vae, z, targets, m).mean(-1) for z in products]
        expected = torch.stack(each).mean(0) if m in members else torch.zeros(1).double()
        torch.testing.assert_close(terms.reconstruction[m], expected)


def test_mopoe_reconstruction_is_unbiased_for_unequal_rows() -> None:
    """Over many seeds each row meets each subset equally often."""
    n_seeds, n_rows = 600, 3
    inputs, targets = _data(n_rows)
    vae = _vae("mopoe")
    many = [x.expand(n_seeds, -1, -1) for x in inputs]
    wide = copy.deepcopy(vae)
    for module in wide.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(p.expand(n_seeds, *p.shape[1:]).clone()))
    with pytest.MonkeyPatch.context() as patch:
        _set_noise(patch, torch.zeros_like)
        streams = RandomStreams(range(n_seeds))
        terms = wide(many, [t.expand(n_seeds, -1, -1) for t in targets], streams, training=False)
    q = vae.encode(inputs)
    table = subset_table(3).double()
    precision = torch.einsum("sm,mabc->sabc", table, q.scale**-2)
    products = torch.einsum("sm,mabc->sabc", table, q.mean * q.scale**-2) / precision
    for m in range(3):
        each = [_reconstructions(vae, z, targets, m).mean().item() for z in products]
        found = terms.reconstruction[m].detach()
        error = float(found.std()) / math.sqrt(n_seeds)
        assert float(found.mean()) == pytest.approx(np.mean(each), abs=5 * error)


@pytest.mark.parametrize("rule", ["aggregated", "poe", "mm-vamp", "autoencoder"])
def test_reconstruction_from_means(rule: str) -> None:
    inputs, targets = _data(6)
    vae = _vae(rule)
    with pytest.MonkeyPatch.context() as patch:
        _set_noise(patch, torch.zeros_like)
        terms = vae(inputs, targets, RandomStreams([0]), training=False)
    q = vae.encode(inputs)
    for m in range(3):
        read = {
            "aggregated": [aggregate(q).mean],
            "poe": [product_of_experts(q).mean, with_prior(q).mean[m]],
        }.get(rule, [q.mean[m]])
        expected = sum(_reconstructions(vae, z, targets, m).mean(-1) for z in read)
        torch.testing.assert_close(terms.reconstruction[m], torch.as_tensor(expected))


def _absent(modality: int, rows: int = 6) -> Tensor:
    present = torch.ones(3, 1, rows, dtype=torch.bool)
    present[modality] = False
    return present


def _broken(vae: MultimodalVAE, modality: int, parts: Sequence[str], value: float) -> MultimodalVAE:
    """Return a copy in which these parts of one modality hold one number throughout."""
    other = copy.deepcopy(vae)
    for part in parts:
        for parameter in getattr(other, part)[modality].parameters():
            parameter.data.fill_(value)
    return other


PARTS = ("encoders", "decoders", "likelihoods")


@pytest.mark.parametrize("modality", [0, 1, 2])
@pytest.mark.parametrize("rule", RULES)
def test_absent_modalities_get_exactly_zero_gradient(rule: str, modality: int) -> None:
    inputs, targets = _data(6)
    vae = _vae(rule)
    terms = vae(inputs, targets, RandomStreams([0]), training=True, present=_absent(modality))
    assert (terms.reconstruction[modality] == 0).all()
    for m, gradients in enumerate(_gradients(vae, terms)):
        for gradient in gradients:
            assert bool((gradient == 0).all()) is (m == modality)


@pytest.mark.parametrize("modality", [0, 1, 2])
@pytest.mark.parametrize("rule", RULES)
def test_absent_modalities_do_not_move_the_others(rule: str, modality: int) -> None:
    """Whatever the absent one's parameters and data are, all else stays as it is to the bit."""
    inputs, targets = _data(6)
    vae = _vae(rule)
    other = _broken(vae, modality, PARTS, 0.3)
    changed = [x + 5.0 * (m == modality) for m, x in enumerate(inputs)]
    counts = [x + 5.0 * (m == modality) for m, x in enumerate(targets)]
    present = _absent(modality)
    first = vae(inputs, targets, RandomStreams([0]), training=True, present=present)
    second = other(changed, counts, RandomStreams([0]), training=True, present=present)
    assert torch.equal(first.reconstruction, second.reconstruction)
    assert torch.equal(first.regularisation, second.regularisation)
    before, after = _gradients(vae, first), _gradients(other, second)
    for m in set(range(3)) - {modality}:
        assert all(torch.equal(a, b) for a, b in zip(before[m], after[m], strict=True))


@pytest.mark.parametrize("rule", RULES)
def test_broken_parameters_of_the_absent_do_not_reach_the_result(rule: str) -> None:
    inputs, targets = _data(6)
    vae = _vae(rule)
    broken = _broken(vae, 1, PARTS, math.nan)
    expected = vae(inputs, targets, RandomStreams([0]), training=True, present=_absent(1))
    found = broken(inputs, targets, RandomStreams([0]), training=True, present=_absent(1))
    assert torch.equal(found.reconstruction, expected.reconstruction)
    assert torch.equal(found.regularisation, expected.regularisation)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("part", ["encoders", "decoders"])
def test_broken_parameters_of_the_absent_do_not_reach_the_gradient(part: str, rule: str) -> None:
    inputs, targets = _data(6)
    vae = _vae(rule)
    broken = _broken(vae, 1, [part], math.nan)
    found = broken(inputs, targets, RandomStreams([0]), training=True, present=_absent(1))
    gradients = _gradients(broken, found)
    assert all(torch.isfinite(gradient).all() for m in (0, 2) for gradient in gradients[m])


@pytest.mark.parametrize("rule", RULES)
def test_rows_with_an_absent_modality_count_for_the_others_alone(rule: str) -> None:
    """A batch in which some rows lack a modality is the sum of its rows."""
    n_rows = 6
    inputs, targets = _data(n_rows)
    vae = _vae(rule, options=SharingOptions(standard_weight=0.25))
    present = torch.rand(3, 1, n_rows, generator=torch.Generator().manual_seed(3)) < 0.5
    reconstruction = torch.zeros(3, 1, dtype=torch.float64)
    regularisation = torch.zeros(1, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        _set_noise(patch, torch.zeros_like)
        if rule == "mopoe":  # a subset for each row, whichever rows stand beside it
            patch.setattr(RandomStreams, "permutation", lambda _, n: torch.full((1, n), 0.4 * n))
            patch.setattr(RandomStreams, "uniform", lambda _, n, dtype: torch.zeros(1, n).to(dtype))
        whole = vae(inputs, targets, RandomStreams([0]), training=False, present=present)
        for row in range(n_rows):
            one = slice(row, row + 1)
            terms = vae(
                [x[:, one] for x in inputs],
                [x[:, one] for x in targets],
                RandomStreams([0]),
                training=False,
                present=present[..., one],
            )
            reconstruction += terms.reconstruction / n_rows
            regularisation += terms.regularisation / n_rows
    torch.testing.assert_close(whole.reconstruction, reconstruction)
    torch.testing.assert_close(whole.regularisation, regularisation)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_the_objective_does_not_depend_on_the_order_of_modalities(rule: str, missing: bool) -> None:
    order, n_rows = [2, 0, 1], 21
    # mopoe's subsets are numbered in the order of modalities: with equal rows that is no matter
    inputs, targets = _data(n_rows, identical=rule == "mopoe")
    weights = (2.0, 0.5, 1.5)
    vae = _vae(rule, weights=weights)
    turned = MultimodalVAE(
        [copy.deepcopy(vae.encoders[m]) for m in order],
        [copy.deepcopy(vae.decoders[m]) for m in order],
        [copy.deepcopy(vae.likelihoods[m]) for m in order],  # type: ignore[misc]
        sharing=rule,
        options=MIXED,
        weights=[weights[m] for m in order],
    )
    generator = torch.Generator().manual_seed(1)
    present = torch.rand(3, 1, n_rows, generator=generator) < 0.7
    present = present[..., :1].expand(-1, -1, n_rows) if rule == "mopoe" else present
    noise = torch.randn(4, 1, n_rows, LATENTS, dtype=torch.float64, generator=generator)
    noise = noise[:, :, :1].expand(-1, -1, n_rows, -1) if rule == "mopoe" else noise
    results = []
    for network, place in ((vae, [0, 1, 2]), (turned, order)):
        with pytest.MonkeyPatch.context() as patch:
            # a joint sample has noise of its own
            _set_noise(patch, lambda like: noise[3:] if len(like) == 1 else noise[place])  # noqa: B023
            terms = network(
                [inputs[m] for m in place],
                [targets[m] for m in place],
                RandomStreams([0]),
                training=False,
                present=present[place] if missing else None,
            )
        results.append(terms)
    torch.testing.assert_close(results[1].reconstruction, results[0].reconstruction[order])
    torch.testing.assert_close(results[1].regularisation, results[0].regularisation)


@pytest.mark.parametrize("rule", RULES)
def test_modalities_of_equal_size_share_no_parameter(rule: str) -> None:
    features = (4, 4, 4)
    inputs, targets = _data(6, features=features)
    vae = _vae(rule, features=features)
    storage = [p.untyped_storage().data_ptr() for p in vae.parameters()]
    assert len(storage) == len(set(storage))
    assert len(storage) == sum(len(_parameters(vae, m)) for m in range(3))
    assert all(
        not torch.equal(a, b)
        for a, b in zip(vae.encoders[0].parameters(), vae.encoders[1].parameters(), strict=True)
    )
    before = vae(inputs, targets, RandomStreams([0]), training=False)
    # a joint posterior is what the encoders share by intention; decoders never do
    parts = PARTS if SHARING_RULES[rule].joint is None else PARTS[1:]
    after = _broken(vae, 0, parts, 0.3)(inputs, targets, RandomStreams([0]), training=False)
    assert torch.equal(before.reconstruction[1:], after.reconstruction[1:])
    assert (before.reconstruction[0] != after.reconstruction[0]).all()


# appendix A.1


def _linear_vae(rule: str, scale: float, features: Sequence[int]) -> MultimodalVAE:
    streams = RandomStreams([7])
    return MultimodalVAE(
        [StoredPosterior() for _ in features],
        [Decoder(3, (), n, streams) for n in features],
        [GaussianLikelihood(scale) for _ in features],
        sharing=rule,
    ).double()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_expected_squared_error_of_a_linear_decoder_is_the_autoencoders_plus_a_trace(
    seed: int,
) -> None:
    """E‖x − Wz − b‖² = ‖x − Wμ − b‖² + tr(W diag(s²) Wᵀ), by Gauss-Hermite quadrature."""
    rng = np.random.default_rng(seed)
    streams = RandomStreams([seed])
    decoder = Decoder(2, (), 4, streams).double()
    layer = decoder.network.layers[0]
    W, b = layer.weight[0].T.detach().numpy(), layer.bias[0, 0].detach().numpy()  # type: ignore[index]
    x, mean, scale = rng.normal(size=4), rng.normal(size=2), rng.gamma(1.0, size=2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    points = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    mass = np.outer(weights, weights).reshape(-1) / (2.0 * np.pi)
    latents = torch.from_numpy(mean + scale * points).unsqueeze(0)
    likelihood = GaussianLikelihood()
    target = torch.from_numpy(x).expand(1, len(points), 4)
    log_prob = likelihood.row_log_prob(decoder(latents), target)[0].detach().numpy()
    # at the scale 1/√2 the term is the squared error plus a constant
    squared = -(log_prob @ mass) - 0.5 * 4 * math.log(math.pi)
    trace = np.trace(W @ np.diag(scale**2) @ W.T)
    assert squared == pytest.approx(np.sum((x - W @ mean - b) ** 2) + trace, rel=1e-9)


@given(seed=st.integers(0, 10_000), noise_scale=st.sampled_from([math.sqrt(0.5), 0.3, 2.0]))
@settings(max_examples=20, deadline=None)
def test_the_autoencoder_bounds_the_objective_by_the_decoders_trace(
    seed: int, noise_scale: float
) -> None:
    """Equations 5 to 7: the expected term lies below the autoencoder's, here by the trace."""
    features, generator = (4, 5), torch.Generator().manual_seed(seed)
    # the eight corners of a cube have the moments of standard normal noise up to the third
    # order, and a squared error has none above the second: their average is the expectation
    corners = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)), dtype=torch.float64)
    mean = torch.randn(2, 1, 1, 3, generator=generator, dtype=torch.float64)
    scale = torch.rand(2, 1, 1, 3, generator=generator, dtype=torch.float64) + 0.05
    targets = [torch.randn(1, 1, n, generator=generator, dtype=torch.float64) for n in features]
    targets = [x.expand(1, 8, -1) for x in targets]
    inputs = [torch.cat([mean[m], scale[m]], dim=-1).expand(1, 8, -1) for m in range(2)]
    terms = {}
    for rule in ("mm-vamp", "independent", "autoencoder"):
        vae = _linear_vae(rule, noise_scale, features)
        with pytest.MonkeyPatch.context() as patch:
            _set_noise(patch, corners.expand_as)
            terms[rule] = vae(inputs, targets, RandomStreams([0]), training=True)
    for m in range(2):
        W = vae.decoders[m].network.layers[0].weight[0].T  # type: ignore[index, union-attr]
        trace = torch.trace(W @ torch.diag(scale[m, 0, 0] ** 2) @ W.T)
        for rule in ("mm-vamp", "independent"):
            gap = terms[rule].reconstruction[m, 0] - terms["autoencoder"].reconstruction[m, 0]
            torch.testing.assert_close(gap, trace / (2.0 * noise_scale**2))
    assert (terms["autoencoder"].regularisation == 0).all()
    assert (terms["mm-vamp"].regularisation >= 0).all()


def test_stored_posteriors_are_split_and_nothing_is_reconstructed() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(2, 1, 6, LATENTS, generator=generator, dtype=torch.float64)
    scale = torch.rand(2, 1, 6, LATENTS, generator=generator, dtype=torch.float64) + 0.1
    stored = [torch.cat([mean[m], scale[m]], dim=-1) for m in range(2)]
    q = StoredPosterior()(stored[0])
    assert torch.equal(q.mean, mean[0])
    assert torch.equal(q.scale, scale[0])
    streams = RandomStreams([0])
    new = Encoder(5, (6,), LATENTS, streams).double()
    vae = MultimodalVAE(
        [StoredPosterior(), new, StoredPosterior()],
        [NoDecoder(), Decoder(LATENTS, (6,), 5, streams).double(), NoDecoder()],
        [NoLikelihood(), PoissonLikelihood(), NoLikelihood()],  # type: ignore[list-item]
    )
    x = torch.ones(1, 6, 5, dtype=torch.float64)
    inputs = [stored[0], x, stored[1]]
    terms = vae(inputs, inputs, RandomStreams([0]), training=True)
    assert (terms.reconstruction[[0, 2]] == 0).all()
    assert (terms.reconstruction[1] > 0).all()
    mine = new(x)
    q = Normal(
        torch.stack([mean[0], mine.mean, mean[1]]), torch.stack([scale[0], mine.scale, scale[1]])
    )
    torch.testing.assert_close(terms.regularisation, pairwise_divergence(q).mean(-1))
    # who is stored cannot be trained: all parameters are the new modality's
    assert sum(p.numel() for p in vae.parameters()) == sum(
        p.numel() for part in (vae.encoders[1], vae.decoders[1]) for p in part.parameters()
    )
    for rule in RULES:
        shared = MultimodalVAE(vae.encoders, vae.decoders, vae.likelihoods, sharing=rule)  # type: ignore[arg-type]
        terms = shared(inputs, inputs, RandomStreams([0]), training=True)
        assert (terms.reconstruction[[0, 2]] == 0).all()


# --- The typical row --------------------------------------------------------------------------


def middle(values: np.ndarray) -> float:
    """Average what lies between the quartiles, the plain way."""
    low = np.quantile(values, 0.25, method="lower")
    high = np.quantile(values, 0.75, method="higher")
    return float(values[(values >= low) & (values <= high)].mean())


@given(rows=st.integers(1, 40), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_typical_terms_are_interquartile_means_times_the_share_present(
    rows: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    values, regularisation = random.normal(size=(3, 2, rows)), random.normal(size=(2, rows))
    present = random.random((3, 2, rows)) < 0.7
    given_rows = ObjectiveRows(
        torch.from_numpy(np.where(present, values, 0.0)),
        torch.from_numpy(regularisation),
        torch.from_numpy(present),
    )
    terms = given_rows.typical()
    for r in range(2):
        assert terms.regularisation[r].item() == pytest.approx(middle(regularisation[r]))
        for m in range(3):
            there = values[m, r][present[m, r]]
            expected = middle(there) * len(there) / rows if len(there) else 0.0
            assert terms.reconstruction[m, r].item() == pytest.approx(expected)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.2])
def test_a_modality_weighs_as_much_in_the_typical_row_as_in_the_mean(share: float) -> None:
    """With equal rows there is nothing to leave out, so both are the same."""
    present = torch.ones(2, 1, 20, dtype=torch.bool)
    present[1, 0, round(20 * share) :] = False
    costs = torch.tensor([3.0, 7.0]).reshape(2, 1, 1) * present
    rows = ObjectiveRows(costs, torch.ones(1, 20), present)
    torch.testing.assert_close(rows.typical().total(0.5), rows.mean().total(0.5))


def test_typical_terms_of_complete_rows_do_not_depend_on_how_that_is_said() -> None:
    costs = torch.randn(3, 2, 37, generator=torch.Generator().manual_seed(0))
    silent = ObjectiveRows(costs, costs[0])
    spoken = ObjectiveRows(costs, costs[0], torch.ones(3, 2, 37, dtype=torch.bool))
    assert torch.equal(silent.typical().reconstruction, spoken.typical().reconstruction)


def test_a_few_absurd_rows_have_no_say_but_infinite_ones_do() -> None:
    values = torch.arange(40.0).reshape(1, 1, 40)
    absurd = values.clone()
    absurd[..., -5:] = 1e9
    rest = torch.zeros(1, 40)
    expected = ObjectiveRows(values, rest).typical().reconstruction
    assert torch.equal(ObjectiveRows(absurd, rest).typical().reconstruction, expected)
    absurd[..., 0] = torch.nan
    assert torch.isinf(ObjectiveRows(absurd, rest).typical().reconstruction).all()
