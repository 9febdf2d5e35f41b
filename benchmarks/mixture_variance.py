"""Monte Carlo noise of the mixture divergence: independent, antithetic and several draws.

    python benchmarks/mixture_variance.py

Five posteriors in eight dimensions, centres drawn at a given distance from one another, scales
between 0.5 and 1.5. For every way of drawing two samples per posterior, the variance of the
estimated divergence and of its gradient with respect to the means (summed over entries), as
ratios to one draw; independent draws must give 0.5. The estimator is stratified as it stands:
each posterior, a component of the mixture, draws the same number of samples.
Writes benchmarks/results/mixture_variance.csv.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from neuroalign.nn.divergences import mixture_divergence
from neuroalign.nn.networks import Normal

RESULTS = Path(__file__).parent / "results"
SHAPE = (5, 8)  # modality, latent
ROWS, REPEATS = 200, 200


def draws(kind: str, generator: torch.Generator) -> Tensor:
    first, second = torch.randn(2, SHAPE[0], ROWS, SHAPE[1], generator=generator)
    return {
        "one draw": first.unsqueeze(0),
        "two independent": torch.stack([first, second]),
        "two antithetic": torch.stack([first, -first]),
    }[kind]


def noise_of(kind: str, distance: float) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(0)
    # the root of 2 times the latents is the distance of two standard normal centres
    spread = distance / (2 * SHAPE[1]) ** 0.5
    centre = spread * torch.randn(SHAPE[0], ROWS, SHAPE[1], generator=generator)
    scale = 0.5 + torch.rand(centre.shape, generator=generator)
    values, gradients = [], []
    for _ in range(REPEATS):
        mean = centre.clone().requires_grad_(requires_grad=True)
        value = mixture_divergence(Normal(mean, scale), draws(kind, generator))
        (gradient,) = torch.autograd.grad(value.sum(), mean)
        values.append(value.detach())
        gradients.append(gradient)
    return (
        float(torch.stack(values).var(0).mean()),
        float(torch.stack(gradients).var(0).sum((0, 2)).mean()),
    )


def main() -> None:
    rows = []
    for distance in (0.5, 1.0, 2.0, 4.0, 8.0):
        alone = noise_of("one draw", distance)
        for kind in ("two independent", "two antithetic"):
            value, gradient = noise_of(kind, distance)
            row = {"distance": distance, "draws": kind, "value": value / alone[0]}
            rows.append({**row, "gradient": gradient / alone[1]})
    table = pd.DataFrame(rows)
    RESULTS.mkdir(exist_ok=True)
    table.to_csv(RESULTS / "mixture_variance.csv", index=False, float_format="%.4f")
    print(table.pivot_table(index="distance", columns="draws").round(2).to_string())


if __name__ == "__main__":
    main()
