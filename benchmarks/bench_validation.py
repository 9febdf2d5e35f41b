"""Training on images: what an epoch costs beyond its arithmetic, and a plain loop beside it.

    python benchmarks/bench_validation.py [--device cpu|cuda] [--rows 2048] [--repeats 3]

Three views of random bytes in PolyMNIST's shape, the networks and the objective of the "quick"
preset (`--wide` for the paper's), without clipped gradients and averaged weights, which the other
arms do not have. In one run, one after the other, medians of `repeats`:

* an epoch of `neuroalign.training.loop.train`;
* the same with clipped gradients and averaged weights, as the "quick" preset has them;
* its arithmetic alone: forward, backward and optimiser on one batch that lies on the device
  already, as many steps as the epoch has; what the epoch takes beyond that is overhead;
* a plain loop over a torch DataLoader (0 and 2 workers, tensors ready in memory, whole batches
  collated) with the same networks and loss.

On a CPU it is wall time of one thread, so run it on a machine that does nothing else.
Writes benchmarks/results/bench_validation.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from neuroalign.nn.random import RandomStreams
from neuroalign.validation.dataset import Benchmark, Modality, Rows
from neuroalign.validation.fitting import FitKey, build_vae, fit
from neuroalign.validation.settings import StudySettings

RESULTS = Path(__file__).parent / "results"
VIEWS = ("a", "b", "c")
KEY = FitKey("mm-vamp", 1.0, 0)


def data(n_rows: int) -> Benchmark:
    random = np.random.default_rng(0)

    def rows(number: int) -> Rows:
        images = {v: random.integers(0, 256, (number, 3, 28, 28)).astype(np.uint8) for v in VIEWS}
        return Rows(images, np.zeros(number, dtype=np.int64))

    views = tuple(Modality(view, "image", (3, 28, 28)) for view in VIEWS)
    return Benchmark("noise", views, ("0",), rows(n_rows), rows(2), rows(2), "random bytes")


def timed(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main(device: str, rows: int, repeats: int, *, wide: bool) -> None:
    torch.set_num_threads(1)
    where = torch.device(device)
    shape = {"image_filters": (64, 128, 256), "stem_stride": 1, "n_latents": 512} if wide else {}
    plain = {"gradient_clip": None, "weight_averaging": 0.0}
    one = StudySettings(epochs=1, **shape, **plain)
    careful = StudySettings(epochs=1, **shape)
    benchmark = data(rows)
    batch = one.batch_size
    steps = rows // batch
    streams = RandomStreams([0], where)
    vae = build_vae(benchmark, one, KEY).to(where)
    optimiser = torch.optim.Adam(vae.parameters(), lr=one.learning_rate, fused=True)

    def step(images: list[torch.Tensor]) -> None:
        loss = vae(images, images, streams, training=True).total(1.0).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    ready = [torch.rand(1, batch, 3, 28, 28, device=where) for _ in VIEWS]
    tensors = [torch.from_numpy(benchmark.train.observations[v]) for v in VIEWS]

    def arithmetic() -> None:
        for _ in range(steps):
            step(ready)

    def loader_epoch(loader: DataLoader[tuple[torch.Tensor, ...]]) -> None:
        for images in loader:
            step([x.to(where, non_blocking=True).float().div_(255).unsqueeze(0) for x in images])

    loaders = {f"DataLoader, {n} workers": loader(tensors, batch, n, where) for n in (0, 2)}
    works: dict[str, Callable[[], object]] = {
        "arithmetic": arithmetic,
        "neuroalign": lambda: fit(benchmark, one, KEY, device=where),
        "neuroalign, clipped and averaged": lambda: fit(benchmark, careful, KEY, device=where),
        **{name: (lambda it=it: loader_epoch(it)) for name, it in loaders.items()},
    }
    for work in works.values():  # warm up
        work()
    # a fit also builds networks and evaluates the kept weights once: taken out by two epochs
    names = {"neuroalign": one, "neuroalign, clipped and averaged": careful}
    for name, settings in names.items():
        twice = replace(settings, epochs=2)
        works[f"{name}, two epochs"] = lambda twice=twice: fit(benchmark, twice, KEY, device=where)
    seconds = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            seconds[name].append(timed(work, where))
    for name in names:
        pairs = zip(seconds.pop(f"{name}, two epochs"), seconds[name], strict=True)
        seconds[name] = [double - single for double, single in pairs]
    result = {
        "device": torch.cuda.get_device_name() if where.type == "cuda" else "one CPU thread",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "rows": rows,
        "batch": batch,
        "networks": "paper" if wide else "quick",
        **compared(seconds),
    }
    if where.type == "cuda":
        result["images_per_second"] = {
            name: len(VIEWS) * rows / statistics.median(values) for name, values in seconds.items()
        }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "bench_validation.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def loader(
    tensors: list[torch.Tensor], batch: int, workers: int, where: torch.device
) -> DataLoader[tuple[torch.Tensor, ...]]:
    return DataLoader(
        TensorDataset(*tensors),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=where.type == "cuda",
    )


def compared(seconds: dict[str, list[float]]) -> dict[str, object]:
    median = {name: statistics.median(values) for name, values in seconds.items()}
    ours = median["neuroalign"]
    return {
        "overhead_share": 1.0 - median["arithmetic"] / ours,
        "images_per_second_over_ours": {name: ours / value for name, value in median.items()},
        "spread": {
            name: [min(v) / median[name], max(v) / median[name]] for name, v in seconds.items()
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--wide", action="store_true")
    main(**vars(parser.parse_args()))
