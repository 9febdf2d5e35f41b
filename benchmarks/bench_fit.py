"""What an epoch of training costs beside its own arithmetic and beside a Lightning program.

    pip install "lightning==2.5.*"   # without it the comparison is left out, and says so
    python benchmarks/bench_fit.py [--device cpu|cuda] [--repeats 3] [--quick] [--out FOLDER]
    python benchmarks/bench_fit.py --accuracy-only   # anew what bfloat16 reaches, nothing else

Five simulated rats, two recipes of the data spec: "paper" (hidden layers as wide as the input) and
"recommended" (the default settings, small networks). Works are timed one after the other in every
repeat, in an order that rotates, each by the median of a few epochs after the first; what is kept
is their time over that of *training* in the same repeat. On both recipes *training* means rows
paired by rank, no mixing and no running average of weights, so that all works do the same:

* with validation: 10 % of the trials held out, their objective, alignment and the best weights;
* as it stands: the recipe with its own pairing, mixing, running average and validation;
* products: the float32 matrix products of forward and backward alone, of the same shapes, by
  `torch.mm`; and by oneDNN where training uses it (on processors with AVX-512);
* plain products: training with `torch.mm`'s library alone, as any torch program has it;
* optimiser: fused Adam alone on as many parameters;
* one thread instead of all; bfloat16 products, where the processor has them;
* Lightning with a DataLoader, see `lightning_rats.py`. Its loss is first compared with ours.

On a GPU: also the whole fit of the paper (1,000 epochs) in seconds, beside the floor that the
device's own product rate and memory bandwidth set. The comparison means something only on a
machine that does nothing else. Writes bench_fit.json and .csv (with `_cuda` on a GPU).
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from timing import (
    LABEL,
    RESULTS,
    Work,
    cpu_lines,
    epochs_of,
    machine,
    now,
    on_one_thread,
    prepared,
    rounds,
    timed,
    write_results,
)

import neuroalign as na
from neuroalign.nn import products
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.restarts import Training
from neuroalign.settings import training_config

SPEC = "odor_sequence"
RECIPES = ("paper", "recommended")
PLAIN = {"pairing": "rank", "mixing": 0.0, "weight_averaging": 0.0}
HELD_OUT = {"validation_fraction": 0.1, "patience": 10_000}  # the best weights are kept, none stops
LARGEST_GAP = 1e-4  # between the two programs' losses, relative
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}
QUICK_UNITS = {"barat": 12, "buchanan": 10, "mitt": 14}

Layer = tuple[int, int, bool]  # in, out, whether its input needs a gradient


# ---- arithmetic


def layers_of(vae: MultimodalVAE) -> list[Layer]:
    """List all affine layers; only the data themselves need no gradient."""
    found: list[Layer] = []
    for networks in (vae.encoders, vae.decoders):
        for part in networks:
            for place, layer in enumerate(part.network.layers):  # type: ignore[union-attr, arg-type]
                _, n_in, n_out = layer.weight.shape
                found.append((n_in, n_out, networks is vae.decoders or place > 0))
    return found


def steps_of(training: Training) -> tuple[int, int]:
    """Return how many steps an epoch has, and of how many rows each."""
    config = training_config(training.settings)
    n_rows = training.data.training_rows.n_rows
    n_batches = max(1, round(n_rows / config.batch_size))
    return math.ceil(config.least_steps / n_batches) * n_batches, n_rows // n_batches


def flop_of(layers: Sequence[Layer], rows: int) -> int:
    """Count a step's multiplications and additions: two or three products for each layer."""
    return sum(2 * rows * n_in * n_out * (3 if needed else 2) for n_in, n_out, needed in layers)


def products_epoch(training: Training) -> Work:
    """Return the matrix products of an epoch, each into memory that waits for it."""
    steps, rows = steps_of(training)
    layers = layers_of(training.build(training.seed))
    device = training.device
    held = []
    for n_in, n_out, needed in layers:
        shapes = [(rows, n_in), (n_in, n_out), (rows, n_out)]
        x, w, g = (torch.randn(shape, device=device) for shape in shapes)
        results = [torch.empty_like(one) for one in (g, w, x)]
        held.append((x, w, g, *results, needed))

    def epoch() -> None:
        for _ in range(steps):
            for x, w, _, y, _, _, _ in held:
                torch.mm(x, w, out=y)
            for x, w, g, _, dw, dx, needed in reversed(held):
                torch.mm(x.T, g, out=dw)
                if needed:
                    torch.mm(g, w.T, out=dx)

    return timed(epoch, device.type)


def onednn_products_epoch(training: Training) -> Work:
    """Return the same products, those by oneDNN that training lets it compute."""
    steps, rows = steps_of(training)
    held = []
    for n_in, n_out, needed in layers_of(training.build(training.seed)):
        shapes = [(1, rows, n_in), (1, n_in, n_out), (1, 1, n_out), (1, rows, n_out)]
        x, w, b, g = (torch.randn(shape) for shape in shapes)
        held.append((x.requires_grad_(needed), w.requires_grad_(), b, g))

    def epoch() -> None:
        for _ in range(steps):
            mapped = [products.affine(x, w, b) for x, w, b, _ in held]
            for (x, w, _, g), y in zip(reversed(held), reversed(mapped), strict=True):
                torch.autograd.grad(y, (x, w) if x.requires_grad else (w,), g)

    return timed(epoch, "cpu")


@contextmanager
def plain_products() -> Iterator[None]:
    """Let all products be computed as `torch.mm` computes them."""
    before = products.worth_onednn
    products.worth_onednn = lambda *_: False  # type: ignore[assignment]
    try:
        yield
    finally:
        products.worth_onednn = before


def plainly(work: Work) -> Work:
    def alone(epochs: int) -> list[float]:
        with plain_products():
            return work(epochs)

    return alone


def uses_onednn(training: Training) -> bool:
    """Say whether training computes any of its products by oneDNN."""
    _, rows = steps_of(training)
    layers = layers_of(training.build(training.seed))
    return any(
        products.worth_onednn(torch.empty(1, rows, n_in), torch.empty(1, n_in, n_out))
        for n_in, n_out, _ in layers
    )


def optimiser_epoch(training: Training) -> Work:
    """Return an epoch's steps of fused Adam on gradients that are there already."""
    steps, _ = steps_of(training)
    vae = training.build(training.seed)
    for weights in vae.parameters():
        weights.grad = torch.full_like(weights, 1e-3)
    optimiser = torch.optim.Adam(vae.parameters(), fused=True)

    def epoch() -> None:
        for _ in range(steps):
            optimiser.step()

    return timed(epoch, training.device.type)


# ---- the measurements


def has_bfloat16(device: str) -> bool:
    flags = set(" ".join(cpu_lines("flags")[:1]).split())
    return device != "cpu" or bool(BFLOAT16_FLAGS & flags)


def works_of(
    windows: xr.DataTree, recipe: str, args: argparse.Namespace
) -> tuple[dict[str, Work], dict[str, Any]]:
    """Return what is timed on a recipe, and what the problem is."""
    named = na.SharedLatentModel.from_recipe(SPEC, recipe, device=args.device, verbose=False)
    own = named.get_params(deep=False)
    training = prepared(windows, **own | HELD_OUT | PLAIN)
    # an epoch is one pass, as a DataLoader's is, however small the data
    training = replace(training, settings={**training.settings, "least_steps": 1})
    entire = prepared(windows, **own | HELD_OUT)
    validated = own["validation_fraction"] > 0

    def ours(*, validate: bool = False, **changes: Any) -> Work:
        return lambda epochs: epochs_of(training, epochs, validate=validate, **changes)

    works: dict[str, Work] = {
        "training": ours(),
        "with validation": ours(validate=True),
        "as it stands": lambda epochs: epochs_of(entire, epochs, validate=validated),
        "products": products_epoch(training),
        "optimiser": optimiser_epoch(training),
    }
    if args.device == "cpu" and torch.get_num_threads() > 1:
        works["training, one thread"] = on_one_thread(ours())
        works["products, one thread"] = on_one_thread(products_epoch(training))
    if args.device == "cpu" and uses_onednn(training):
        works["products, oneDNN"] = onednn_products_epoch(training)
        works["training, plain products"] = plainly(ours())
    if args.bfloat16:
        works["training, bfloat16"] = ours(precision="bfloat16")
    steps, rows = steps_of(training)
    vae = training.build(training.seed)
    problem = {
        "features": [source.n_features for source in training.data.sources],  # type: ignore[attr-defined]
        "parameters": sum(weights.numel() for weights in vae.parameters()),
        "steps": steps,
        "steps as it stands": steps_of(entire)[0],
        "rows of a step": rows,
        "training rows": training.data.training_rows.n_rows,
        "held-out rows": training.data.validation_rows.n_rows,  # type: ignore[union-attr]
    }
    if args.lightning:
        from lightning_rats import Plain

        plain = Plain.of(training)
        problem["gap of losses"] = gap = plain.loss_gap(training)
        if not gap < LARGEST_GAP:
            raise RuntimeError(f"{recipe}: the two programs' losses differ by {gap:.1e}.")
        for workers in (0, 2):
            name = f"Lightning, {workers} workers"
            works[name] = plain.work(training, validate=False, workers=workers)
            works[f"{name}, with validation"] = plain.work(training, validate=True, workers=workers)
        works["Lightning, 0 workers, fused Adam"] = plain.work(
            training, validate=False, workers=0, fused=True
        )
    return works, problem


def accuracy(windows: xr.DataTree, recipe: str, precision: str, seed: int, epochs: int) -> float:
    """Return the accuracy of held-out windows read across rats, averaged over rats."""
    train_trees, test = na.split_trials(windows, test_size=0.25, stratify=LABEL, random_state=seed)
    changes = {"precision": precision, "max_epochs": epochs, "random_state": seed}
    model = na.SharedLatentModel.from_recipe(SPEC, recipe, verbose=False, **changes)
    latents = [model.fit(train_trees, label=LABEL).transform(t) for t in (train_trees, test)]
    scores = na.decode_labels(*latents, label=LABEL, permutations=0, bootstraps=0)
    found = scores["accuracy"].sel(level="window", train_subject="others")
    return round(float(found.mean("test_subject")), 4)


def accuracies_of(windows: xr.DataTree, epochs: Sequence[int]) -> dict[str, Any]:
    """Fit both recipes in both precisions, three seeds each."""
    rows = []
    for recipe, number in zip(RECIPES, epochs, strict=True):
        for seed, precision in itertools.product(range(3), ("float32", "bfloat16")):
            score = accuracy(windows, recipe, precision, seed, number)
            rows.append({"recipe": recipe, "seed": seed, "precision": precision, "accuracy": score})
            print(rows[-1], flush=True)
    return {"epochs": list(epochs), "rows": rows}


def paper_fit(windows: xr.DataTree, epochs: int, device: str) -> dict[str, float]:
    """Time the whole fit of the paper, and what the device itself needs for its arithmetic."""

    def model(max_epochs: int) -> na.SharedLatentModel:
        changes = {"device": device, "max_epochs": max_epochs, "random_state": 0}
        return na.SharedLatentModel.from_recipe(SPEC, "paper", verbose=False, **changes)

    model(3).fit(windows, label=LABEL)  # what is compiled, captured or cached on first use
    started = now(device)
    model(epochs).fit(windows, label=LABEL)
    seconds = now(device) - started
    settings = model(epochs).get_params(deep=False)
    training = prepared(windows, **settings)
    vae = training.build(training.seed)
    steps, rows = steps_of(training)
    rate, bandwidth = ceilings(device)
    # weights read forward and backward, gradients written, Adam's seven passes; the average's three
    passes = 10 + 3 * (settings["weight_averaging"] > 0)
    bytes_of_a_step = 4 * passes * sum(weights.numel() for weights in vae.parameters())
    flop = flop_of(layers_of(vae), rows)
    return {
        "epochs": epochs,
        "seconds": seconds,
        "floor_seconds": epochs * steps * max(flop / rate, bytes_of_a_step / bandwidth),
        "floor_of_products_seconds": epochs * steps * flop / rate,
        "floor_of_memory_seconds": epochs * steps * bytes_of_a_step / bandwidth,
        "teraflop_per_second": rate / 1e12,
        "terabyte_per_second": bandwidth / 1e12,
    }


def ceilings(device: str, size: int = 8192, floats: int = 2**28) -> tuple[float, float]:
    """Measure floating-point operations and bytes per second of a large product and a copy."""
    a, b, out = (torch.randn(size, size, device=device) for _ in range(3))
    source = torch.empty(floats, device=device)
    target = torch.empty_like(source)

    def best(work: Callable[[], object]) -> float:
        found = []
        for _ in range(10):
            started = now(device)
            work()
            found.append(now(device) - started)
        return min(found)

    product = best(lambda: torch.mm(a, b, out=out))
    copy = best(lambda: target.copy_(source))
    return 2 * size**3 / product, 2 * 4 * source.numel() / copy


def missing_parts(args: argparse.Namespace) -> dict[str, str]:
    """Say why a part is not measured."""
    missing = {}
    if not args.lightning:
        missing["lightning"] = 'Lightning is not installed (pip install "lightning==2.5.*")'
    if not args.bfloat16:
        missing["bfloat16"] = (
            f"the processor has none of {', '.join(sorted(BFLOAT16_FLAGS))}: "
            "products in bfloat16 would be emulated"
        )
    if args.device == "cpu":
        missing["gpu"] = "needs --device cuda"
    for part, reason in missing.items():
        print(f"left out: {part}; {reason}", flush=True)
    return missing


def main(args: argparse.Namespace) -> None:
    warnings.simplefilter("ignore", na.NeuroAlignWarning)  # fits of a few epochs align nothing
    torch.set_num_threads(args.threads)
    if args.device != "cpu":
        torch.backends.cuda.matmul.allow_tf32 = args.tf32
    units, trials = (QUICK_UNITS, 48) if args.quick else (None, None)
    recordings, _ = na.simulate_recordings(units=units, trials=trials, random_state=5)
    windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)))
    missing, measured_on = missing_parts(args), machine(args.device)
    if args.accuracy_only:
        file = args.out / "bench_fit.json"
        result = json.loads(file.read_text(encoding="utf-8"))
        result["accuracy"] = accuracies_of(windows, args.accuracy_epochs)
        write_results(args.out, "bench_fit", result)
        return
    problems, rows, accuracies = {}, [], {}
    for recipe, epochs in zip(RECIPES, args.epochs, strict=True):
        works, problems[recipe] = works_of(windows, recipe, args)
        for row in rounds(works, "training", repeats=args.repeats, epochs=epochs):
            rows.append({"recipe": recipe, **row})
            print(rows[-1], flush=True)
    if args.bfloat16:
        accuracies = accuracies_of(windows, args.accuracy_epochs)
    result = {
        "machine": measured_on,
        "settings": {
            "repeats": args.repeats,
            "epochs": dict(zip(RECIPES, args.epochs, strict=True)),
        },
        "problems": problems,
        "missing": missing,
        "rows": rows,
    }
    if accuracies:
        result["accuracy"] = accuracies
    if args.device != "cpu":
        result["paper_fit"] = paper_fit(windows, args.fit_epochs, args.device)
        print(result["paper_fit"], flush=True)
    write_results(args.out, "bench_fit" + ("" if args.device == "cpu" else "_cuda"), result)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, nargs=2, default=[2, 6], help="of both recipes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bfloat16", action="store_true", help="also where it is emulated")
    parser.add_argument(
        "--accuracy-epochs", type=int, nargs=2, default=[100, 30], help="of bfloat16's accuracy"
    )
    parser.add_argument("--accuracy-only", action="store_true", help="add it to a recorded result")
    parser.add_argument("--fit-epochs", type=int, default=1000, help="of the paper's fit on a GPU")
    parser.add_argument("--tf32", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--quick", action="store_true", help="three small rats, to try the script")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.quick:
        args.repeats, args.epochs, args.accuracy_epochs, args.fit_epochs = 2, [1, 1], [3, 3], 5
    args.bfloat16 = args.bfloat16 or has_bfloat16(args.device)
    args.lightning = any(map(importlib.util.find_spec, ("lightning", "pytorch_lightning")))
    return args


if __name__ == "__main__":
    main(arguments())
