"""The loop: replicates equal single fits, resumed fits equal uninterrupted ones, stops are right."""

from pathlib import Path

import pytest
import torch
from fit_examples import CONFIG, changed, fit, problem, weights

from neuroalign.errors import ModelFileError, TrainingError
from neuroalign.nn.frozen import NoDecoder, NoLikelihood, StoredPosterior
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.training.keeping import HistoryRow
from neuroalign.training.loop import train
from neuroalign.training.pairing import FixedRows, Rows
from neuroalign.training.sources import PosteriorSource
from neuroalign.training.steps import Steps, clip_gradients

# nothing about these fits may depend on whether the weights are averaged
AVERAGING = pytest.mark.parametrize("averaging", [0.0, 0.9])


@AVERAGING
def test_a_replicate_ends_where_it_would_alone(averaging: float) -> None:
    config = changed(weight_averaging=averaging)
    together, history = fit([3, 8], weights(0.1, 0.7), config)
    for r, (seed, beta) in enumerate([(3, 0.1), (8, 0.7)]):
        alone, single = fit([seed], weights(beta), config)
        for a, b in zip(together.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(a[r : r + 1], b, rtol=1e-9, atol=1e-11)
        assert history.history[r][-1]["objective"] == pytest.approx(
            single.history[0][-1]["objective"], rel=1e-6
        )


@AVERAGING
def test_a_replicate_stops_and_keeps_what_it_would_alone(averaging: float) -> None:
    config = changed(patience=2, max_epochs=40, learning_rate=0.05, weight_averaging=averaging)
    together, progress = fit([3, 8], weights(0.1, 2.0), config)
    lengths = [len(rows) for rows in progress.history]
    assert lengths[0] != lengths[1]  # one goes on after the other has stopped
    for r, (seed, beta) in enumerate([(3, 0.1), (8, 2.0)]):
        alone, single = fit([seed], weights(beta), config)
        assert progress.best_epoch[r] == single.best_epoch[0]
        assert lengths[r] == len(single.history[0])
        for a, b in zip(together.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(a[r : r + 1], b, rtol=1e-7, atol=1e-9)


def test_one_seed_gives_one_result_to_the_bit() -> None:
    first, second = (fit([3], weights(0.1))[0] for _ in range(2))
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


@AVERAGING
@pytest.mark.parametrize("patience", [None, 3])
def test_an_interrupted_fit_resumes_to_the_same_result(
    tmp_path: Path, averaging: float, patience: int | None
) -> None:
    config = changed(patience=patience, max_epochs=6, weight_averaging=averaging)
    # weights that change while the fit is interrupted must go on where they were
    objective = weights(0.1, [(1, 0.1), (4, 0.5)], mixture_share=[(0, 0.0), (3, 0.5)])
    whole, expected = fit([3, 4], objective, config)
    path = tmp_path / "state.safetensors"

    def interrupt(epoch: int, _: object) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit([3, 4], objective, config, on_epoch=interrupt, checkpoint=path, fingerprint="same")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    resumed, progress = fit([3, 4], objective, config, checkpoint=path, fingerprint="same")
    assert progress.history == expected.history
    assert progress.best_epoch == expected.best_epoch
    for a, b in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ModelFileError, match="belongs to another fit"):
        fit([3, 4], objective, config, checkpoint=path, fingerprint="other")
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelFileError, match="no readable checkpoint"):
        fit([3, 4], objective, config, checkpoint=path, fingerprint="same")


def test_an_interrupt_inside_an_epoch_loses_that_epoch_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, expected = fit([3], weights(0.1))
    path, steps = tmp_path / "state.safetensors", 0
    original = Steps.take

    def interrupt(self: Steps, batch: Rows) -> None:
        nonlocal steps
        steps += 1
        if steps == 8:  # epochs have 3 steps here
            raise KeyboardInterrupt
        original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "take", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit([3], weights(0.1), checkpoint=path, fingerprint="same")
    resumed, progress = fit([3], weights(0.1), checkpoint=path, fingerprint="same")
    assert progress.history == expected.history
    for a, b in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)


def test_patience_keeps_the_best_epoch() -> None:
    config = changed(patience=2, max_epochs=60, learning_rate=0.1)
    vae, progress = fit([1], weights(0.1), config)
    scores = [row["validation_score"] for row in progress.history[0]]
    assert progress.best_epoch[0] == 1 + min(range(len(scores)), key=scores.__getitem__)
    assert len(scores) == min(60, progress.best_epoch[0] + 2)
    assert all(torch.equal(progress.best_weights[k], v) for k, v in vae.state_dict().items())


def test_the_objective_falls() -> None:
    _, progress = fit([1], weights(0.1), changed(max_epochs=8, least_steps=7, learning_rate=0.03))
    objective = [row["objective"] for row in progress.history[0]]
    assert objective[-1] < objective[0] - 1.0


def test_history_adds_up() -> None:
    _, progress = fit([1], weights(0.25))
    for row in progress.history[0]:
        for prefix in ("", "validation_"):
            parts = row[f"{prefix}reconstruction[ada]"] + row[f"{prefix}reconstruction[bob]"]
            assert row[f"{prefix}reconstruction"] == pytest.approx(parts)
            total = parts + 0.25 * row[f"{prefix}regularisation"]
            assert row[f"{prefix}objective"] == pytest.approx(total)


def test_a_loss_that_is_not_finite_names_the_modality() -> None:
    vae, data, streams = problem([0], broken=True)
    with pytest.raises(
        TrainingError, match="reconstruction term of 'bob' is not finite in epoch 1"
    ):
        train(vae, data, CONFIG, objective=weights(0.1), streams=streams)


def test_clipping_treats_replicates_apart() -> None:
    vae, _, _ = problem([0, 1])
    for parameter in vae.parameters():
        parameter.grad = torch.ones_like(parameter)
        parameter.grad[1] *= 1e-3
    small = next(vae.parameters()).grad[1].clone()  # type: ignore[index]
    clip_gradients(vae, 1.0)
    norms = torch.stack([p.grad.square().flatten(1).sum(1) for p in vae.parameters()]).sum(0).sqrt()  # type: ignore[union-attr]
    assert float(norms[0]) == pytest.approx(1.0)
    assert torch.equal(next(vae.parameters()).grad[1], small)  # type: ignore[index]


def test_paired_rows_train_as_well() -> None:
    vae, data, streams = problem([0], validation=False)
    data.training_rows = FixedRows(torch.tensor([[0, 1], [2, 3], [4, 4]]), 3)
    progress = train(vae, data, CONFIG, objective=weights(0.1), streams=streams)
    assert progress.epoch == CONFIG.max_epochs
    assert "validation_objective" not in progress.history[0][0]


def test_what_is_measured_appears_in_the_history_of_each_replicate() -> None:
    seen = []

    def measure(network: MultimodalVAE) -> HistoryRow:
        first = next(network.parameters()).detach().clone()
        assert len(first) == 1  # one replicate at a time
        seen.append(first)
        return {"call": len(seen), "weight": first.flatten()[0].item()}

    vae, progress = fit([3, 8], weights(0.1, 0.7), changed(max_epochs=3), measure=measure)
    for r, rows in enumerate(progress.history):
        assert [row["call"] for row in rows] == [1 + r, 3 + r, 5 + r]
        ours = [weight.flatten()[0].item() for weight in seen[r::2]]
        assert [row["weight"] for row in rows] == ours
        assert len(set(ours)) == 3
        assert next(vae.parameters())[r].flatten()[0].item() in ours
    plain = fit([3, 8], weights(0.1, 0.7), changed(max_epochs=3))[1]
    kept = [[{k: v for k, v in row.items() if k not in {"call", "weight"}} for row in rows]
            for rows in progress.history]  # fmt: skip
    assert kept == plain.history


def test_measuring_does_not_disturb_the_fit_even_if_it_draws() -> None:
    vae, data, streams = problem([3])

    def measure(_: MultimodalVAE) -> HistoryRow:
        return {"drawn": float(streams.normal(1))}

    data.measure = measure
    train(vae, data, CONFIG, objective=weights(0.1), streams=streams)
    expected = fit([3], weights(0.1))[0]
    for a, b in zip(vae.parameters(), expected.parameters(), strict=True):
        assert torch.equal(a, b)


@AVERAGING
def test_a_modality_learns_beside_stored_posteriors(tmp_path: Path, averaging: float) -> None:
    """Only the new modality has parameters; the stored ones are drawn towards, and stay."""
    generator = torch.Generator().manual_seed(2)
    mean = torch.randn(12, 3, 2, generator=generator, dtype=torch.float64)
    scale = torch.full_like(mean, 0.2)
    config = changed(max_epochs=20, learning_rate=0.05, weight_averaging=averaging)
    results = []
    for beta in (0.0, 5.0):
        vae, data, streams = problem([3], dropout=0.0)
        stored = PosteriorSource(mean, scale)
        data.sources = [stored, data.sources[1]]
        vae = MultimodalVAE(
            [StoredPosterior(), vae.encoders[1]],
            [NoDecoder(), vae.decoders[1]],
            [NoLikelihood(), vae.likelihoods[1]],  # type: ignore[list-item]
        )
        progress = train(
            vae,
            data,
            config,
            objective=weights(beta),
            streams=streams,
            checkpoint=tmp_path / f"{beta}.safetensors",
        )
        for row in progress.history[0]:
            for prefix in ("", "validation_"):
                assert row[f"{prefix}reconstruction[ada]"] == 0.0
                assert row[f"{prefix}reconstruction[bob]"] == row[f"{prefix}reconstruction"] > 0
        results.append(progress.history[0][-1]["regularisation"])
        assert torch.equal(stored.parameters[:, :2].reshape(12, 3, 2), mean)
    assert results[1] < 0.3 * results[0]


def test_beta_keeps_its_digits_in_float64() -> None:
    _, progress = fit([1], weights(0.1))
    row = progress.history[0][0]
    assert row["beta"] == 0.1
    total = row["validation_reconstruction"] + 0.1 * row["validation_regularisation"]
    assert row["validation_objective"] == pytest.approx(total, rel=1e-12)
