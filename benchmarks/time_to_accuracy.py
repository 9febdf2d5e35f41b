"""How long fits take to a given held-out accuracy: neuroalign beside CEBRA and multivae.

    pip install cebra multivae   # what is missing is left out, and says so
    python benchmarks/time_to_accuracy.py [--seeds 20 21 22] [--quick]
    python benchmarks/time_to_accuracy.py --choose-betas   # multivae's, on another simulation

Five simulated rats, the trials of `simulated_rats.py`. Every method is fitted anew with a rising
budget (epochs, or iterations of CEBRA) and default settings otherwise; accuracies are of windows
of held-out trials, read within rats and from the pooled others by the same classifier. Times are
those of `fit` alone, in seconds of one thread's processor time, so that other work on the machine
matters little; they are printed and compared as ratios, in the same run.

* neuroalign: `SharedLatentModel` without early stopping, so that it takes the budget it is given;
* CEBRA: multi-session with one-hot odor, by the wrapper that docs/bring_your_own_method.md prints;
* multivae: its MVAE and MoPoE with the networks, inputs, batches and step size of our default
  model, in a plain training loop; rows are paired by odor and window, anew in every epoch. Their
  betas are the best of seven on the simulation on which our defaults were chosen.

Writes benchmarks/results/time_to_accuracy.csv (and _betas.csv) after every fit, and goes on.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from cebra_rats import wrapper
from simulated_rats import RESULTS, windows_of
from torch import Tensor, nn

import neuroalign as na

TABLE = RESULTS / "time_to_accuracy.csv"
BUDGETS: Mapping[str, tuple[int, ...]] = {
    "mm-vamp": (1, 2, 4, 8, 16, 32, 64),
    "multivae MVAE": (1, 2, 4, 8, 16, 32, 64),
    "multivae MoPoE": (1, 2, 4, 8, 16, 32),
    "CEBRA": (25, 50, 100, 200, 400, 800, 1600),
}
TRIED_BETAS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
BETAS = {"MVAE": 3.0, "MoPoE": 0.03}  # what `--choose-betas` found
CHOOSING_SEED, CHOOSING_EPOCHS = 5, 16
Fitted = Callable[[xr.DataTree], xr.DataTree]


def of_ours(train: xr.DataTree, budget: int, seed: int) -> Fitted:
    """Fit our default model for so many epochs."""
    model = na.SharedLatentModel(
        max_epochs=budget, patience=10_000, random_state=seed, verbose=False, device="cpu"
    )
    with warnings.catch_warnings():  # a fit of one epoch has not aligned, and is told so
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        return model.fit(train, label="odor").transform


def of_cebra(train: xr.DataTree, budget: int, seed: int) -> Fitted:
    """Fit CEBRA for so many iterations."""
    torch.manual_seed(seed)
    return wrapper()(iterations=budget).fit(train, label="odor").transform


class Features:
    """Windows as our default model sees them: square roots, standardised on training trials."""

    def __init__(self, train: xr.DataTree) -> None:
        self.moments = {}
        for name, child in train.children.items():
            x = self._roots(child)
            spread = x.std((0, 1))
            self.moments[name] = x.mean((0, 1)), np.where(spread > 0, spread, np.inf)

    @staticmethod
    def _roots(child: xr.DataTree) -> np.ndarray:
        view = na.window_view(child.to_dataset())
        return np.sqrt(view.reshape(*view.shape[:2], -1).astype(np.float32))

    def __call__(self, tree: xr.DataTree) -> dict[str, Tensor]:
        """Return (trial, window, feature) of every rat."""
        found = {}
        for name, child in tree.children.items():
            mean, spread = self.moments[name]
            found[name] = torch.from_numpy(((self._roots(child) - mean) / spread).astype("f4"))
        return found


def paired_rows(
    data: Mapping[str, Tensor], labels: Mapping[str, np.ndarray], random: np.random.Generator
) -> dict[str, Tensor]:
    """Pair trials of one odor at random; window by window, rows are in one random order."""
    chosen: dict[str, list[np.ndarray]] = {name: [] for name in data}
    for odor in np.unique(np.concatenate(list(labels.values()))):
        trials = {name: np.flatnonzero(each == odor) for name, each in labels.items()}
        most = max(each.size for each in trials.values())
        for name, each in trials.items():  # each rat gives all of its trials, some of them again
            repeated = np.concatenate(
                [random.permutation(each) for _ in range(most // each.size + 1)]
            )
            chosen[name].append(repeated[:most])
    rows = {name: x[np.concatenate(chosen[name])].flatten(0, 1) for name, x in data.items()}
    order = torch.from_numpy(random.permutation(len(next(iter(rows.values())))))
    return {name: x[order] for name, x in rows.items()}


def of_multivae(
    train: xr.DataTree, kind: str, budget: int, seed: int, beta: float | None = None
) -> Fitted:
    """Fit a model of multivae for so many epochs."""
    from multivae.data.datasets.base import MultimodalBaseDataset

    features, random = Features(train), np.random.default_rng(seed)
    data = features(train)
    labels = {name: child["odor"].values for name, child in train.children.items()}
    own = na.SharedLatentModel().get_params(deep=False)
    model = their_model(kind, data, own["n_latents"], BETAS[kind] if beta is None else beta, seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=own["learning_rate"])
    model.train()
    for _ in range(budget):
        rows = paired_rows(data, labels, random)
        n_rows = len(next(iter(rows.values())))
        for start in range(0, n_rows - n_rows % own["batch_size"], own["batch_size"]):
            stop = start + own["batch_size"]
            batch = MultimodalBaseDataset({name: x[start:stop] for name, x in rows.items()})
            loss = model(batch).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.eval()

    @torch.no_grad()
    def transform(tree: xr.DataTree) -> xr.DataTree:
        means = {
            name: model.encoders[name](x.flatten(0, 1)).embedding.unflatten(0, x.shape[:2]).numpy()
            for name, x in features(tree).items()
        }
        return na.latents_from_arrays(means, tree)

    return transform


def their_model(
    kind: str, data: Mapping[str, Tensor], n_latents: int, beta: float, seed: int
) -> Any:
    """Build a model of multivae with linear encoders and decoders of one hidden layer of 64."""
    from multivae import models
    from multivae.models.base import BaseDecoder, BaseEncoder, ModelOutput

    class LinearEncoder(BaseEncoder):
        def __init__(self, n_features: int) -> None:
            super().__init__()
            self.latent_dim = n_latents
            self.both = nn.Linear(n_features, 2 * n_latents)

        def forward(self, x: Tensor) -> Any:
            mean, log_variance = self.both(x).chunk(2, dim=-1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class SmallDecoder(BaseDecoder):
        def __init__(self, n_features: int) -> None:
            super().__init__()
            self.latent_dim = n_latents
            self.layers = nn.Sequential(
                nn.Linear(n_latents, 64), nn.LeakyReLU(0.01), nn.Linear(64, n_features)
            )

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.layers(z))

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = {name: x.shape[-1] for name, x in data.items()}
        # MVAE's beta would rise over ten epochs, and be zero for whoever does not name the epoch
        unwarmed = {"warmup": 0} if kind == "MVAE" else {}
        config = getattr(models, f"{kind}Config")(
            n_modalities=len(sizes), latent_dim=n_latents, beta=beta, **unwarmed
        )
        return getattr(models, kind)(
            config,
            {name: LinearEncoder(n) for name, n in sizes.items()},
            {name: SmallDecoder(n) for name, n in sizes.items()},
        )


def fitted(method: str, train: xr.DataTree, budget: int, seed: int) -> Fitted:
    if method == "mm-vamp":
        return of_ours(train, budget, seed)
    if method == "CEBRA":
        return of_cebra(train, budget, seed)
    return of_multivae(train, method.removeprefix("multivae "), budget, seed)


def measured(
    method: str, train: xr.DataTree, test: xr.DataTree, budget: int, seed: int
) -> dict[str, object]:
    """Fit once; return seconds of one thread, and both accuracies of held-out windows."""
    started = time.process_time()
    transform = fitted(method, train, budget, seed)
    seconds = time.process_time() - started
    numbers = accuracies(transform, train, test)
    return {"seed": seed, "method": method, "budget": budget, "seconds": seconds, **numbers}


def accuracies(transform: Fitted, train: xr.DataTree, test: xr.DataTree) -> dict[str, float]:
    """Return how well held-out windows are read within rats and from the pooled others."""
    scores = na.decode_labels(
        transform(train), transform(test), label="odor", permutations=0, bootstraps=0
    )
    found = scores["accuracy"].sel(level="window")
    within = [float(found.sel(train_subject=s, test_subject=s)) for s in train.children]
    across = float(found.sel(train_subject="others").mean("test_subject"))
    return {"within": round(float(np.mean(within)), 4), "across": round(across, 4)}


def available(methods: Sequence[str]) -> Iterator[str]:
    for method in methods:
        needed = "torch" if method == "mm-vamp" else method.split()[0].lower()
        if importlib.util.find_spec(needed) is None:
            print(f"left out: {method} (`pip install {needed}`)")
        else:
            yield method


def choose_betas(out: Path) -> None:
    """Fit multivae's models with every beta on a simulation that no result comes from."""
    train, test, _ = windows_of(CHOOSING_SEED)
    rows = pd.read_csv(out).to_dict("records") if out.exists() else []
    done = {(row["method"], row["beta"]) for row in rows}
    for kind in BETAS:
        for beta in TRIED_BETAS:
            if (kind, beta) in done:
                continue
            transform = of_multivae(train, kind, CHOOSING_EPOCHS, CHOOSING_SEED, beta)
            rows.append({"method": kind, "beta": beta, **accuracies(transform, train, test)})
            print(rows[-1], flush=True)
            pd.DataFrame(rows).to_csv(out, index=False, float_format="%.4f")


def main(
    seeds: Sequence[int], methods: Sequence[str], *, quick: bool, out: Path, choose: bool
) -> None:
    torch.set_num_threads(1)
    if choose:
        choose_betas(out.with_stem(f"{out.stem}_betas"))
        return
    rows = pd.read_csv(out).to_dict("records") if out.exists() else []
    done = {(row["seed"], row["method"], row["budget"]) for row in rows}
    methods = list(available(methods))
    for seed in seeds:
        train, test, _ = windows_of(seed)
        measured("mm-vamp", train, test, 1, seed)  # what is loaded or compiled on first use
        for method in methods:
            for budget in BUDGETS[method][: 2 if quick else None]:
                if (seed, method, budget) in done:
                    continue
                rows.append(measured(method, train, test, budget, seed))
                print(rows[-1], flush=True)
                pd.DataFrame(rows).to_csv(out, index=False, float_format="%.4f")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[20, 21, 22])
    parser.add_argument("--methods", nargs="*", default=list(BUDGETS), choices=list(BUDGETS))
    parser.add_argument("--quick", action="store_true", help="two budgets, to try the script")
    parser.add_argument("--choose-betas", action="store_true", dest="choose")
    parser.add_argument("--out", type=Path, default=TABLE)
    main(**vars(parser.parse_args()))
