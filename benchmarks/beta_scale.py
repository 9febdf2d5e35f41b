"""How the useful beta moves with likelihood, scaling, units and windows.

    python benchmarks/beta_scale.py [VARIANT ...]

One simulation of five rats that no other table uses (seed 5); every variant is fitted with
several values of beta and judged on the validation trials of the fit: accuracy per window,
within and across rats, and what reconstruction gains over constant rates, in nats per row.
Writes benchmarks/results/beta_scale.csv, and leaves out what is there already.
"""

from __future__ import annotations

import sys

import pandas as pd
import torch
import xarray as xr
from simulated_rats import RESULTS, decode, fit, parts_of_fit

import neuroalign as na
from neuroalign.bridge import window_source
from neuroalign.construction import build_networks
from neuroalign.schema import map_subjects

SEED = 5
BETAS = (0.1, 0.3, 1.0, 3.0)
VARIANTS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    # name: arguments of the model, changes of the data
    "poisson": ({}, {}),
    "gaussian": ({"likelihood": "gaussian"}, {}),
    "gaussian, learned scale": ({"likelihood": "gaussian", "noise_scale": "learned"}, {}),
    "negative binomial": ({"likelihood": "negative-binomial"}, {}),
    "categorical": ({"likelihood": "categorical"}, {}),
    "bernoulli": ({"likelihood": "bernoulli"}, {"binary": True}),
    "laplace": ({"likelihood": "laplace"}, {}),
    "gaussian, raw counts": ({"likelihood": "gaussian", "scaling": "none"}, {}),
    "poisson, half the units": ({}, {"units": 0.5}),
    "poisson, windows of 50 ms": ({}, {"length": 0.05}),
    "poisson, windows of 200 ms": ({}, {"length": 0.2}),
    "poisson, two rats": ({}, {"subjects": 2}),
    "poisson, raw counts encoded": ({"scaling": "none"}, {}),
    "poisson, standardised counts encoded": ({"scaling": "standard"}, {}),
    "gaussian, standardised counts": ({"likelihood": "gaussian", "scaling": "standard"}, {}),
    "gaussian, square roots": ({"likelihood": "gaussian", "scaling": "sqrt"}, {}),
}
# beyond the values above, where the best of them was the smallest or the largest
FURTHER: dict[str, tuple[float, ...]] = {
    "gaussian, raw counts": (0.01, 0.03),
    "gaussian, square roots": (0.01, 0.03),
    "poisson, windows of 200 ms": (10.0,),
}


def windows_of(change: dict[str, object]) -> xr.DataTree:
    recordings, _ = na.simulate_recordings(random_state=SEED)
    binned = na.bin_spikes(na.keep_spec_trials(recordings))
    length = change.get("length", 0.1)
    windows = na.slide_windows(binned, length=float(length))  # type: ignore[arg-type]
    if change.get("binary"):
        windows = map_subjects(windows, lambda _, d: d.assign(counts=d["counts"].clip(max=1)))
    if "units" in change:
        windows = map_subjects(windows, lambda _, d: d.isel(unit=slice(None, None, 2)))
    if "subjects" in change:
        kept = list(windows.children)[: int(change["subjects"])]  # type: ignore[call-overload]
        windows = windows.filter(lambda node: node.name in kept)
    train, _ = na.split_trials(windows, test_size=0.25, stratify="odor", random_state=SEED)
    return train


def constant_objective(model: na.SharedLatentModel, held: xr.DataTree) -> float:
    """Return the reconstruction term of decoders that say the training means, nats per row."""
    fitted = model.fitted_
    start = build_networks(fitted.subjects, fitted.settings, fitted.seed)
    total = 0.0
    for m, (name, subject) in enumerate(fitted.subjects.items()):
        likelihood = start.likelihoods[m]
        source = window_source(
            held[name].to_dataset(),
            subject,
            device=torch.device("cpu"),
            dtype=torch.float32,
            target_counts=likelihood.target == "counts",
        )
        targets = source.gather(torch.arange(source.n_examples).unsqueeze(0))[1]
        bias = start.decoders[m].network.layers[-1].bias
        rows = likelihood.row_log_prob(bias.expand(1, source.n_examples, -1), targets)
        total -= rows.mean().item()
    return total


def main(wanted: list[str]) -> None:
    path = RESULTS / "beta_scale.csv"
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    done = {(row["variant"], row["beta"]) for row in rows}
    for name in wanted:
        settings, change = VARIANTS[name]
        betas = [b for b in sorted((*BETAS, *FURTHER.get(name, ()))) if (name, b) not in done]
        if not betas:
            continue
        train = windows_of(change)
        for beta in betas:
            model = fit(train, SEED, beta=beta, **settings)
            seen, held = parts_of_fit(model, train)
            scores = decode(model, seen, held)
            row = next(row for row in scores if row["level"] == "window")
            history = model.history_.set_index("epoch").loc[model.best_epoch_]
            rows.append(
                {
                    "variant": name,
                    "beta": beta,
                    "within": row["within"],
                    "across": row["across"],
                    "alignment": model.alignment_,
                    "epoch": model.best_epoch_,
                    "gain": constant_objective(model, held) - history["validation_reconstruction"],
                    "regularisation": history["validation_regularisation"],
                }
            )
            print(pd.DataFrame(rows[-1:]).to_string(index=False, header=False), flush=True)
        RESULTS.mkdir(exist_ok=True)
        pd.DataFrame(rows).to_csv(path, index=False, float_format="%.4f")
    table = pd.DataFrame(rows)
    table["score"] = (table["within"] + table["across"]) / 2
    print(table.loc[table.groupby("variant")["score"].idxmax()].round(3).to_string(index=False))


if __name__ == "__main__":
    main(sys.argv[1:] or list(VARIANTS))
