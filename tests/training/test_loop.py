"""The loop: replicates equal single fits, resumed fits equal uninterrupted ones, stops are right."""

import math
from pathlib import Path

import pytest
import torch

from neuroalign.errors import ModelFileError, TrainingError
from neuroalign.nn.likelihoods import GaussianLikelihood
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.networks import Decoder, Encoder
from neuroalign.nn.random import RandomStreams
from neuroalign.training.config import TrainingConfig
from neuroalign.training.keeping import FitProgress
from neuroalign.training.loop import TrainingSet, clip_gradients, train
from neuroalign.training.pairing import FixedRows, ResampledRows
from neuroalign.training.sources import FeatureScaling, WindowSource


def problem(
    seeds: list[int], *, validation: bool = True, broken: bool = False
) -> tuple[MultimodalVAE, TrainingSet, RandomStreams]:
    generator = torch.Generator().manual_seed(0)
    sources, members, held_out = [], [], []
    for units in (4, 5):
        counts = torch.poisson(torch.ones(12, 6, units), generator=generator).to(torch.uint8)
        n_features = 3 * units
        gain = torch.full(
            (n_features,), math.nan if broken and units == 5 else 1.0, dtype=torch.float64
        )
        scaling = FeatureScaling(True, torch.zeros(n_features, dtype=torch.float64), gain)
        sources.append(
            WindowSource(counts, torch.tensor([0, 2, 3]), 3, scaling, target_counts=False)
        )
        members.append([torch.arange(0, 4), torch.arange(4, 9)])
        held_out.append([torch.tensor([9, 10]), torch.tensor([11])])
    streams = RandomStreams(seeds)
    vae = MultimodalVAE(
        [Encoder(s.n_features, (6,), 2, streams, dropout=0.3) for s in sources],
        [Decoder(2, (6,), s.n_features, streams) for s in sources],
        [GaussianLikelihood(), GaussianLikelihood()],
    ).double()
    rows = ResampledRows(held_out, 3) if validation else None
    return vae, TrainingSet(["ada", "bob"], sources, ResampledRows(members, 3), rows), streams


CONFIG = TrainingConfig(
    max_epochs=4,
    batch_size=8,
    learning_rate=0.01,
    patience=None,
    precision="float64",
    gradient_clip=5.0,
)


def fit(
    seeds: list[int], beta: list[float], config: TrainingConfig = CONFIG, **extra: object
) -> tuple[MultimodalVAE, FitProgress]:
    vae, data, streams = problem(seeds)
    progress = train(
        vae, data, config, beta=torch.tensor(beta, dtype=torch.float64), streams=streams, **extra
    )  # type: ignore[arg-type]
    return vae, progress


def test_a_replicate_ends_where_it_would_alone() -> None:
    together, history = fit([3, 8], [0.1, 0.7])
    for r, (seed, beta) in enumerate([(3, 0.1), (8, 0.7)]):
        alone, single = fit([seed], [beta])
        for a, b in zip(together.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(a[r : r + 1], b, rtol=1e-9, atol=1e-11)
        assert history.history[r][-1]["objective"] == pytest.approx(
            single.history[0][-1]["objective"], rel=1e-6
        )


def test_one_seed_gives_one_result_to_the_bit() -> None:
    first, second = fit([3], [0.1])[0], fit([3], [0.1])[0]
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


def test_an_interrupted_fit_resumes_to_the_same_result(tmp_path: Path) -> None:
    config = TrainingConfig(**{**vars(CONFIG), "patience": 3, "max_epochs": 6})
    whole, expected = fit([3, 4], [0.1, 0.2], config)
    path = tmp_path / "state.safetensors"

    def interrupt(epoch: int, _: object) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit([3, 4], [0.1, 0.2], config, on_epoch=interrupt, checkpoint=path, fingerprint="same")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    resumed, progress = fit([3, 4], [0.1, 0.2], config, checkpoint=path, fingerprint="same")
    assert progress.history == expected.history
    assert progress.best_epoch == expected.best_epoch
    for a, b in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ModelFileError, match="belongs to another fit"):
        fit([3, 4], [0.1, 0.2], config, checkpoint=path, fingerprint="other")
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelFileError, match="no readable checkpoint"):
        fit([3, 4], [0.1, 0.2], config, checkpoint=path, fingerprint="same")


def test_an_interrupt_inside_an_epoch_loses_that_epoch_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neuroalign.training import loop

    whole, expected = fit([3], [0.1])
    path, steps = tmp_path / "state.safetensors", 0
    original = loop._terms

    def interrupt(*arguments: object) -> object:
        nonlocal steps
        steps += 1
        if steps == 40:  # epochs have 15 training steps and one evaluation here
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_terms", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit([3], [0.1], checkpoint=path, fingerprint="same")
    resumed, progress = fit([3], [0.1], checkpoint=path, fingerprint="same")
    assert progress.history == expected.history
    for a, b in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)


def test_patience_keeps_the_best_epoch() -> None:
    config = TrainingConfig(
        **{**vars(CONFIG), "patience": 2, "max_epochs": 60, "learning_rate": 0.1}
    )
    vae, progress = fit([1], [0.1], config)
    scores = [row["validation_objective"] for row in progress.history[0]]
    assert progress.best_epoch[0] == 1 + min(range(len(scores)), key=scores.__getitem__)
    assert len(scores) == min(60, progress.best_epoch[0] + 2)
    assert all(torch.equal(progress.best_weights[k], v) for k, v in vae.state_dict().items())


def test_the_objective_falls() -> None:
    config = TrainingConfig(**{**vars(CONFIG), "max_epochs": 30})
    _, progress = fit([1], [0.1], config)
    objective = [row["objective"] for row in progress.history[0]]
    assert objective[-1] < objective[0] - 1.0


def test_history_adds_up() -> None:
    _, progress = fit([1], [0.25])
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
        train(vae, data, CONFIG, beta=torch.tensor([0.1], dtype=torch.float64), streams=streams)


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
    progress = train(
        vae, data, CONFIG, beta=torch.tensor([0.1], dtype=torch.float64), streams=streams
    )
    assert progress.epoch == CONFIG.max_epochs
    assert "validation_objective" not in progress.history[0][0]
