"""Fits, judges and scores on bars: what is measured, what is kept, what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from benchmark_examples import bar_benchmark
from sklearn.metrics import average_precision_score

from neuroalign.errors import DataError, ParameterError
from neuroalign.validation import report
from neuroalign.validation.dataset import Rows
from neuroalign.validation.fitting import FitKey, SymbolLikelihood, build_vae, fit, objective
from neuroalign.validation.judge import learning_rates, load_judge, save_judge, train_judge
from neuroalign.validation.polymnist import polymnist
from neuroalign.validation.protocol import LinearReader, Score, encode, score_fit
from neuroalign.validation.runs import study_settings, validate
from neuroalign.validation.scoring import attribute_scores, chance_score, score_predictions
from neuroalign.validation.settings import PRESETS, StudySettings
from neuroalign.validation.study import load_fit, run_study
from neuroalign.validation.summary import against, chosen_betas, over_seeds, per_fit

CPU = torch.device("cpu")
SMALL = StudySettings(
    methods=("independent", "mm-vamp"),
    betas=(0.1,),
    n_latents=4,
    image_filters=(8,),
    text_filters=(8,),
    epochs=2,
    batch_size=32,
    learning_rate=3e-3,
    judge_images=100,
)
KEY = FitKey("mm-vamp", 0.1, 0)


def _quiet(_: str) -> None: ...


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    out = tmp_path_factory.mktemp("study")
    table = run_study(bar_benchmark(), SMALL, out, device=CPU, least_judge=0.0, say=_quiet)
    return out, table


def test_a_study_scores_every_pair_of_modalities(study: tuple[Path, pd.DataFrame]) -> None:
    _, table = study
    assert set(table["method"]) == {"independent", "mm-vamp"}
    one = table[table["method"] == "mm-vamp"]
    coherence = one[one["measure"] == "coherence"]
    pairs = set(zip(coherence["source"], coherence["target"], strict=True))
    assert pairs == {(s, t) for s in ("left", "right") for t in ("left", "right")}
    assert len(one[one["measure"] == "latent"]) == 2
    assert one["value"].notna().all()


def test_a_study_goes_on_with_what_is_there(study: tuple[Path, pd.DataFrame]) -> None:
    out, table = study
    told: list[str] = []
    before = {path: path.stat().st_mtime_ns for path in (out / "fits").iterdir()}
    again = run_study(bar_benchmark(), SMALL, out, device=CPU, least_judge=0.0, say=told.append)
    pd.testing.assert_frame_equal(again, table)
    assert "0 of 2 fits to do" in told
    assert {path: path.stat().st_mtime_ns for path in (out / "fits").iterdir()} == before


def test_scores_of_other_data_are_refused(study: tuple[Path, pd.DataFrame]) -> None:
    out, _ = study
    with pytest.raises(DataError, match="of other data or settings"):
        run_study(bar_benchmark(90), SMALL, out, device=CPU, least_judge=0.0, say=_quiet)


def test_fits_are_scored_anew_but_not_fitted_anew_when_other_judges_are_believed(
    study: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    out = tmp_path / "study"
    shutil.copytree(study[0], out)
    weights = {path: path.stat().st_mtime_ns for path in (out / "fits").glob("*.safetensors")}
    assert len(weights) == 2
    strict = run_study(bar_benchmark(), SMALL, out, device=CPU, least_judge=1.01, say=_quiet)
    assert "coherence" not in set(strict["measure"])
    again = run_study(bar_benchmark(), SMALL, out, device=CPU, least_judge=0.0, say=_quiet)
    pd.testing.assert_frame_equal(again, study[1])
    assert {path: path.stat().st_mtime_ns for path in weights} == weights


def test_saved_weights_give_the_scores_that_were_written(study: tuple[Path, pd.DataFrame]) -> None:
    out, table = study
    benchmark = bar_benchmark()
    vae = load_fit(benchmark, SMALL, KEY, out, CPU)
    scores = score_fit(benchmark, vae, {}, SMALL, seed=0)
    latent = [score.value for score in scores if score.measure == "latent"]
    kept = table[(table["method"] == "mm-vamp") & (table["measure"] == "latent")]["value"]
    np.testing.assert_allclose(latent, kept)


def test_a_judge_below_the_bar_is_not_believed(tmp_path: Path) -> None:
    told: list[str] = []
    settings = dataclasses.replace(SMALL, methods=("mm-vamp",), epochs=1)
    table = run_study(
        bar_benchmark(), settings, tmp_path, device=CPU, least_judge=1.01, say=told.append
    )
    assert "coherence" not in set(table["measure"])
    assert any("less than 1.01: coherence of generated left is not judged" in t for t in told)


def test_one_seed_gives_one_fit_bit_for_bit_and_another_resumes_to_it(tmp_path: Path) -> None:
    benchmark = bar_benchmark(64)
    whole, _ = fit(benchmark, SMALL, KEY, device=CPU)
    again, _ = fit(benchmark, SMALL, KEY, device=CPU)

    class StopError(Exception):
        pass

    def stop(epoch: int, _: object) -> None:
        if epoch == 2:
            raise StopError

    path = tmp_path / "fit.checkpoint"
    with pytest.raises(StopError):
        fit(benchmark, SMALL, KEY, device=CPU, checkpoint=path, on_epoch=stop)
    resumed, _ = fit(benchmark, SMALL, KEY, device=CPU, checkpoint=path)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert torch.equal(value, resumed.state_dict()[name])


def test_the_core_sees_no_labels() -> None:
    """Rows are paired before; shuffling labels alone changes nothing in the networks."""
    benchmark = bar_benchmark(64)
    shuffled = dataclasses.replace(
        benchmark, train=Rows(benchmark.train.observations, benchmark.train.labels[::-1].copy())
    )
    one, _ = fit(benchmark, SMALL, KEY, device=CPU)
    other, _ = fit(shuffled, SMALL, KEY, device=CPU)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


@pytest.mark.parametrize("method", ["independent", "aggregated", "poe", "moe", "mopoe", "mm-vamp"])
def test_reconstruction_is_the_negative_log_likelihood_of_test_rows(method: str) -> None:
    """Networks whose posteriors are points: samples are means, and everything is known."""
    benchmark = bar_benchmark(32)
    vae = build_vae(benchmark, SMALL, FitKey(method, 1.0, 0))
    with torch.no_grad():
        for decoder in vae.decoders:  # blind to the latent: every image is the same grey
            for parameter in decoder.parameters():
                parameter.zero_()
            decoder.last.bias.fill_(0.5)  # type: ignore[union-attr, operator]
    scores = score_fit(benchmark, vae, {}, SMALL)
    for name in ("left", "right"):
        images = benchmark.test.observations[name] / 255.0
        expected = np.abs(images - 0.5).sum((1, 2, 3)).mean() / 0.75 + 3 * 8 * 8 * np.log(1.5)
        found = [s.value for s in scores if "reconstruction" in s.measure and s.target == name]
        assert len(found) == 2
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_texts_are_modelled_symbol_by_symbol() -> None:
    likelihood = SymbolLikelihood(4)
    parameters = torch.randn(1, 3, 4, 8, dtype=torch.float64)
    x = torch.randint(0, 4, (1, 3, 8))
    table = torch.distributions.Categorical(logits=parameters.transpose(-1, -2))
    expected = table.log_prob(x)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(likelihood.log_prob(parameters, x), expected)


def test_text_and_image_terms_are_weighted_by_size() -> None:
    vae = build_vae(bar_benchmark(text=True), SMALL, KEY)
    assert vae.weights == (1.0, 3 * 8 * 8 / 8)


def test_attributes_are_scored_by_average_precision() -> None:
    random = np.random.default_rng(0)
    truth = random.random((50, 3)) < 0.3
    said = random.random((50, 3))
    expected = [average_precision_score(truth[:, a], said[:, a]) for a in range(3)]
    np.testing.assert_allclose(attribute_scores(said, truth), expected)
    assert score_predictions(said, truth) == pytest.approx(np.mean(expected))
    assert chance_score(truth) == pytest.approx(truth.mean())
    assert chance_score(np.array([0, 1, 1, 1])) == 0.75


def test_linear_readers_leave_out_what_cannot_be_learned() -> None:
    random = np.random.default_rng(1)
    latents = random.normal(size=(80, 2))
    labels = np.stack([latents[:, 0] > 0, np.ones(80, bool), latents[:, 1] > 0], axis=1)
    reader = LinearReader.fit(latents, labels, ("first", "always", "second"))
    scores = reader.scores(latents, labels, "left")
    assert [score.attribute for score in scores] == ["", "first", "second"]
    assert scores[0].value > 0.99


def test_linear_readers_give_unseen_classes_no_probability() -> None:
    latents = np.array([[0.0], [1.0], [0.1], [0.9]])
    reader = LinearReader.fit(latents, np.array([0, 2, 0, 2]), ("a", "b", "c"))
    assert reader.scores(latents, np.array([0, 2, 0, 1]), "left")[0].value == 0.75


@pytest.mark.parametrize("multilabel", [False, True])
def test_judges_learn_bars_and_survive_being_saved(tmp_path: Path, multilabel: bool) -> None:
    benchmark = bar_benchmark(600, multilabel=multilabel)
    judge = train_judge(benchmark, "left", n_images=3600, device=CPU)
    assert judge.score > 0.9
    path = tmp_path / "left.safetensors"
    save_judge(judge, path)
    loaded = load_judge(path, benchmark, CPU)
    assert loaded.score == judge.score
    images = torch.rand(3, 3, 8, 8)
    np.testing.assert_array_equal(loaded.read(images), judge.read(images))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="is not a judge of these images"):
        load_judge(path, benchmark, CPU)


def test_judges_learn_at_a_rate_that_rises_and_then_falls_to_nothing() -> None:
    share = learning_rates(200)
    shares = [share(step) for step in range(200)]
    assert shares[0] == pytest.approx(1 / 30)  # the first 15 % of steps
    assert shares[29] == shares[30] == 1.0
    assert shares[115] == pytest.approx(0.5)  # half of the way down
    assert np.all(np.diff(shares[:30]) > 0)
    assert np.all(np.diff(shares[30:]) < 0)
    assert 0 < shares[-1] < 1e-3
    assert learning_rates(1)(0) == 1.0


def test_samples_of_posteriors_are_drawn_and_their_means_are_not() -> None:
    benchmark = bar_benchmark(48)
    vae = build_vae(benchmark, SMALL, KEY)
    first, second = (score_fit(benchmark, vae, {}, SMALL, seed=seed) for seed in (0, 1))

    def values(scores: list[Score], measure: str) -> list[float]:
        return [score.value for score in scores if score.measure == measure]

    assert values(first, "latent means") == values(second, "latent means")
    assert values(first, "latent") != values(second, "latent")
    posterior = encode(benchmark, vae, benchmark.test)
    assert posterior.mean.shape == (2, 60, 4)


def _scores() -> pd.DataFrame:
    rows = []
    for seed in (0, 1, 2):
        for method, beta, value in (
            ("poe", 1.0, 0.4),
            ("mm-vamp", 1.0, 0.5),
            ("mm-vamp", 2.0, 0.7),
        ):
            latent = value + 0.01 * seed
            shared = {"method": method, "beta": beta, "seed": seed, "attribute": ""}
            for name in ("left", "right"):
                rows += [
                    shared | {"measure": m, "source": name, "target": t, "value": v}
                    for m, t, v in (
                        ("latent", "", latent),
                        ("latent, validation rows", "", 1.0 - latent),
                        ("latent means", "", latent + 0.1),
                        ("coherence", "left", 0.2),
                        ("coherence", "right", 0.6),
                        ("reconstruction joint", name, 10.0),
                        ("reconstruction single", name, 20.0),
                    )
                ]
    return pd.DataFrame(rows)


def test_scores_are_averaged_over_modalities_and_reconstruction_is_summed() -> None:
    fits = per_fit(_scores(), same_modality=False)
    row = fits[(fits["method"] == "poe") & (fits["seed"] == 0)].iloc[0]
    assert row["latent"] == pytest.approx(0.4)
    assert row["coherence"] == pytest.approx(0.4)  # left to right 0.6, right to left 0.2
    assert (row["reconstruction joint"], row["reconstruction single"]) == (20.0, 40.0)
    table = over_seeds(fits).set_index(["method", "beta"])
    assert table.loc[("poe", 1.0), "latent sd"] == pytest.approx(0.01)
    assert (table["seeds"] == 3).all()


def test_beta_is_chosen_by_validation_rows_and_not_by_test_rows() -> None:
    fits = per_fit(_scores(), same_modality=False)
    assert chosen_betas(fits) == {"poe": 1.0, "mm-vamp": 1.0}  # test rows would say 2
    gaps = against(fits).set_index("method")
    assert gaps.loc["poe", "latent"] == pytest.approx(0.1)
    assert gaps.loc["poe", "latent ±"] == pytest.approx(0.0, abs=1e-12)


def test_alpha_falls_from_one_to_zero_where_it_is_asked_for() -> None:
    annealed = objective(dataclasses.replace(SMALL, standard_weight_epochs=10.0), KEY)
    assert [annealed.standard_weight(e) for e in (0, 5, 10, 20)] == [1.0, 0.5, 0.0, 0.0]
    assert objective(SMALL, KEY).standard_weight(0) == 0.0


def test_presets_say_what_text_and_code_of_the_paper_say() -> None:
    paper, code = PRESETS["polymnist"]["paper"], PRESETS["polymnist"]["code"]
    assert (paper.n_latents, paper.batch_size, paper.epochs, len(paper.betas)) == (
        512,
        256,
        500,
        12,
    )
    assert (code.batch_size, code.standard_weight_epochs) == (128, 320.0)
    assert PRESETS["celeba"]["paper"].learning_rate == 2e-4
    assert study_settings("celeba", "paper", seeds=(4,)).seeds == (4,)
    assert study_settings("polymnist", "code", epochs=50).standard_weight_epochs == 32
    assert study_settings("polymnist", "paper", epochs=9).standard_weight_epochs == 0
    kept = study_settings("polymnist", "code", epochs=50, standard_weight_epochs=7.0)
    assert kept.standard_weight_epochs == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("vamp",)}, "unknown method 'vamp'"),
        ({"betas": (-1.0,)}, "betas must not be negative"),
        ({"seeds": ()}, "seeds must be some different values"),
        ({"divergence": "both"}, "divergence must be"),
        ({"epochs": 0}, "epochs must be at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        dataclasses.replace(SMALL, **changes)  # type: ignore[arg-type]


def test_a_report_says_where_the_mixture_tied_nothing(tmp_path: Path) -> None:
    benchmark = bar_benchmark(16)
    (tmp_path / "fits").mkdir()
    largest = len(benchmark.modalities) * np.log(len(benchmark.modalities))
    for seed, last in ((0, largest), (1, 0.5 * largest)):
        table = pd.DataFrame({"epoch": [1, 2], "regularisation": [9.0, last]})
        table.to_csv(tmp_path / "fits" / f"mm-vamp_beta0.1_seed{seed}_history.csv", index=False)
    mixture = dataclasses.replace(SMALL, divergence="mixture", seeds=(0, 1))
    said = "\n".join(report._saturated(benchmark, mixture, tmp_path))
    assert "in 1 of 2 fits of mm-vamp** (β 0.1 seed 0)" in said
    assert f"{largest:.2f} nats" in said
    assert report._saturated(benchmark, SMALL, tmp_path) == []
    without = dataclasses.replace(mixture, seeds=(1,))
    assert report._saturated(benchmark, without, tmp_path) == []


@pytest.mark.parametrize("text", [False, True])
def test_a_report_has_tables_and_figures_and_refuses_another_study(
    tmp_path: Path, text: bool
) -> None:
    benchmark = bar_benchmark(48, text=text, multilabel=text)
    settings = dataclasses.replace(SMALL, epochs=1, seeds=(0, 1))
    page = validate(benchmark, settings, tmp_path / "out", device="cpu", say=_quiet)
    said = page.read_text(encoding="utf-8")
    assert "# bars" in said
    assert "| mm-vamp | 0.1 |" in said
    for name in [line.split("](")[1][:-1] for line in said.splitlines() if line.startswith("![")]:
        assert (page.parent / name).read_bytes()[:4] == b"\x89PNG"
    told = json.loads((page.parent / "study.json").read_text(encoding="utf-8"))
    assert told["benchmark"] == "bars"
    with pytest.raises(DataError, match=r"other settings \(n_latents\)"):
        validate(
            benchmark, dataclasses.replace(settings, n_latents=5), page.parent,
            device="cpu", say=_quiet,
        )  # fmt: skip
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.txt").write_text("")
    with pytest.raises(DataError, match="holds something else"):
        validate(benchmark, settings, tmp_path / "else", device="cpu", say=_quiet)


def test_what_was_not_composed_here_cannot_be_redrawn() -> None:
    redrawn = dataclasses.replace(SMALL, redraw=True)
    with pytest.raises(ParameterError, match=r"nothing of .* was composed here"):
        fit(bar_benchmark(32), redrawn, KEY, device=CPU)
    digits = polymnist(n_train=40, n_validation=2, n_test=2)
    one, again, fixed = (
        fit(digits, settings, KEY, device=CPU)[1] for settings in (redrawn, redrawn, SMALL)
    )
    assert one == again
    assert one != fixed
