"""The loss terms of the library multivae beside those of `poe`, `moe` and `mopoe`.

    pip install multivae
    python benchmarks/multivae_terms.py

Both libraries get the same weights, the same rows and the same noise, in double precision; their
beta is equal, their observations are normal with scale 1 and nothing is rescaled. Terms are in
nats per row. Where both define a term alike, the numbers must agree to 1e-5, or the script
fails (multivae's MoPoE adds 1e-8 to variances); where they do not, the table says why. Nothing
is fitted.
Writes benchmarks/results/multivae_terms.csv.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import pandas as pd
import torch
from torch import Tensor
from torch.distributions import Normal

from neuroalign.nn.divergences import mixture_divergence, standard_divergences
from neuroalign.nn.joint import (
    JointPosterior,
    product_of_experts,
    subset_products,
    subset_table,
    with_prior,
)
from neuroalign.nn.likelihoods import GaussianLikelihood
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.networks import Decoder, Encoder
from neuroalign.nn.random import RandomStreams

try:
    from multivae.data.datasets.base import MultimodalBaseDataset
    from multivae.models import MMVAE, MVAE, MMVAEConfig, MoPoE, MoPoEConfig, MVAEConfig
    from multivae.models.base import BaseDecoder, BaseEncoder, BaseMultiVAE, ModelOutput
except ImportError as error:
    print(f"Nothing compared ({error}): `pip install multivae`, then run this script again.")
    raise SystemExit(0) from None

RESULTS = Path(__file__).parent / "results"
FEATURES = {"a": 5, "b": 8, "c": 12}
N_LATENTS = 4
N_ROWS = 28  # four for each of the seven subsets
UNEVEN_ROWS = 34  # six rows more than a multiple of seven
N_DRAWS = 1000
BETA = 0.5
TOLERANCE = 1e-5

Row = dict[str, object]
LogProb = Callable[[Tensor, Tensor], Tensor]


class SharedNoise(RandomStreams):
    """Hands out prepared normal numbers, (draw, row, latent), in turn.

    With `order`, row r gets the place order[r] in MoPoE's round of subsets.
    """

    def __init__(self, noise: Tensor, order: Tensor | None = None) -> None:
        super().__init__([0])
        self.noise = noise
        self.order = order
        self.used = 0

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32, row_axis: int = 0) -> Tensor:
        del row_axis  # every row is here
        taken = self.noise[self.used : self.used + shape[0]].reshape(1, *shape)
        self.used += shape[0]
        return taken.to(dtype)

    def permutation(self, *shape: int) -> Tensor:
        return super().permutation(*shape) if self.order is None else self.order[None]


@contextmanager
def their_draws(noise: Tensor) -> Iterator[None]:
    """Let multivae's normals take the same numbers, a draw at a time."""
    left = iter(noise)

    def rsample(self: Normal, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.mean + self.scale * next(left).expand(*sample_shape, *self.mean.shape)

    with mock.patch.object(Normal, "rsample", rsample):
        yield


class TheirEncoder(BaseEncoder):
    """One of our encoders in multivae's clothes: a log-variance instead of a scale."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)
        self.latent_dim = N_LATENTS

    def forward(self, x: Tensor) -> ModelOutput:
        posterior = self.encoder(x.unsqueeze(0))
        return ModelOutput(
            embedding=posterior.mean[0], log_covariance=2.0 * posterior.scale[0].log()
        )


class TheirDecoder(BaseDecoder):
    def __init__(self, decoder: torch.nn.Module) -> None:
        super().__init__()
        self.decoder = copy.deepcopy(decoder)
        self.latent_dim = N_LATENTS

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.decoder(z.unsqueeze(0))[0])


def our_model(sharing: str) -> MultimodalVAE:
    """Build the same linear networks whatever the sharing."""
    streams = RandomStreams([1])
    encoders = [Encoder(n, (), N_LATENTS, streams) for n in FEATURES.values()]
    decoders = [Decoder(N_LATENTS, (), n, streams) for n in FEATURES.values()]
    likelihoods = [GaussianLikelihood(1.0) for _ in FEATURES]
    return MultimodalVAE(encoders, decoders, likelihoods, sharing=sharing).double()


def their_model(
    kind: type[BaseMultiVAE], config: type, ours: MultimodalVAE, **settings: object
) -> BaseMultiVAE:
    encoders = dict(zip(FEATURES, map(TheirEncoder, ours.encoders), strict=True))
    decoders = dict(zip(FEATURES, map(TheirDecoder, ours.decoders), strict=True))
    settings = {"n_modalities": len(FEATURES), "latent_dim": N_LATENTS, **settings}
    return kind(config(**settings), encoders, decoders)


def record_reconstructions(model: BaseMultiVAE) -> list[Tensor]:
    """Return a list to which multivae's −log p(x_m | z) are added, one number per row."""
    recorded: list[Tensor] = []

    def listening(log_prob: LogProb) -> LogProb:
        def listen(parameters: Tensor, x: Tensor) -> Tensor:
            value = log_prob(parameters, x)
            recorded.append(-value.sum(-1))
            return value

        return listen

    for name, log_prob in model.recon_log_probs.items():
        model.recon_log_probs[name] = listening(log_prob)
    return recorded


def our_reconstruction(model: MultimodalVAE, latents: Tensor, rows: Sequence[Tensor]) -> Tensor:
    """Return Σ_m −log p(x_m | z_m) of latents (modality, replicate, row, latent), (row,)."""
    parts = zip(model.likelihoods, model.decoders, latents, rows, strict=True)
    each = [like.row_log_prob(decode(z), x)[0] for like, decode, z, x in parts]  # type: ignore[operator]
    return -torch.stack(each).sum(0)


def prepare(n_rows: int) -> tuple[list[Tensor], MultimodalBaseDataset, Tensor]:
    """Return rows for us, the same rows for multivae, and noise, (draw, row, latent)."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    rows = [normal(1, n_rows, n) for n in FEATURES.values()]
    dataset = MultimodalBaseDataset(dict(zip(FEATURES, (x[0] for x in rows), strict=True)))
    return rows, dataset, normal(1 + len(FEATURES), n_rows, N_LATENTS)


def beside(
    model: str, term: str, ours: Tensor | float, theirs: Tensor | float, explanation: str = ""
) -> Row:
    """Return a row of the table; without an explanation, both numbers must agree."""
    difference = float(ours) - float(theirs)
    if not explanation and not abs(difference) < TOLERANCE:
        raise SystemExit(f"{model}, {term}: {float(ours)} here, {float(theirs)} in multivae.")
    return {
        "model": model,
        "term": term,
        "ours": float(ours),
        "theirs": float(theirs),
        "difference": round(difference, 6) + 0.0,  # no minus zero
        "explanation": explanation or "same definition",
    }


def product_rows() -> list[Row]:
    """Compare `poe` with MVAE: the joint bound and every modality's own."""
    name = "poe / MVAE"
    rows, dataset, noise = prepare(N_ROWS)
    ours = our_model("poe")
    posteriors = ours.encode(rows)
    latents = ours.rule.terms(posteriors, SharedNoise(noise), ours.options, None).latents
    together, alone = (our_reconstruction(ours, z, rows).mean() for z in latents)
    joint = standard_divergences(product_of_experts(posteriors)).mean()
    single = standard_divergences(with_prior(posteriors)).mean((1, 2))
    total = ours(rows, rows, SharedNoise(noise), training=False).total(BETA)

    theirs = their_model(MVAE, MVAEConfig, ours, k=0, warmup=0, beta=BETA)
    # listened to, for what MVAE logs as reconstruction has β·KL added to it in place
    recorded = record_reconstructions(theirs)
    with their_draws(noise):
        output = theirs(dataset)
    found = output.metrics
    their_together, their_alone = torch.stack(recorded).mean(-1).chunk(2)
    return [
        beside(name, "reconstruction, joint", together, their_together.sum()),
        beside(name, "reconstruction, single", alone, their_alone.sum()),
        beside(name, "KL, joint", joint, found["kld" + "_".join(FEATURES)]),
        *(
            beside(name, f"KL, single {m}", kl, found[f"kld{m}"])
            for m, kl in zip(FEATURES, single, strict=True)
        ),
        beside(name, f"total, beta {BETA}", total, output.loss),
    ]


def mixture_rows() -> list[Row]:
    """Compare `moe` with MMVAE at one importance sample and normal posteriors."""
    name = "moe / MMVAE"
    rows, dataset, noise = prepare(N_ROWS)
    noise = noise[: len(FEATURES)]
    ours = our_model("moe")
    terms = ours(rows, rows, SharedNoise(noise), training=False)
    reconstruction, bound = terms.reconstruction.sum(), terms.regularisation
    found = {beta: their_mixture_terms(ours, dataset, noise, beta) for beta in (1.0, BETA)}
    estimate = found[1.0]["divergence"]

    often = [x.repeat(1, N_DRAWS, 1) for x in rows]
    many = MultimodalBaseDataset(dict(zip(FEATURES, (x[0] for x in often), strict=True)))
    draws = even_draws()
    expected = their_mixture_terms(ours, many, draws, 1.0)["divergence"]
    spread = mixture_divergence(ours.encode(often), draws[None, :, None]).mean() / len(FEATURES)
    return [
        beside(name, "reconstruction", reconstruction, found[1.0]["reconstruction"]),
        beside(
            name,
            "divergence, one draw per expert",
            bound,
            estimate,
            "ours: mean over experts of KL(q_m ‖ N(0, I)) in closed form; multivae: one draw per "
            "expert of log mixture(z) − log N(z; 0, I)",
        ),
        beside(
            name,
            f"divergence, mean of {N_DRAWS} draws per expert",
            bound,
            expected,
            "ours bounds from above what multivae estimates, KL(mixture ‖ N(0, I))",
        ),
        beside(
            name,
            f"divergence, mean of {N_DRAWS} draws, ours less (1/M) Σ_m KL(q_m ‖ mixture)",
            bound - spread,
            expected,
        ),
        beside(
            name,
            "total, beta 1.0",
            terms.total(1.0),
            found[1.0]["total"],
            "by the divergence alone; multivae's own is the sum over rows, here divided by their "
            "number",
        ),
        beside(
            name,
            f"weight of the divergence in the total, beta {BETA}",
            (terms.total(BETA) - reconstruction) / bound,
            (found[BETA]["total"] - found[BETA]["reconstruction"]) / estimate,
            "multivae's MMVAE takes a beta and does not use it",
        ),
    ]


def even_draws() -> Tensor:
    """Return noise for rows repeated N_DRAWS times, (expert, row, latent).

    The draws of a row have mean 0 and variance 1 to the last digit, for which closed forms and
    averages of log-densities are the same; what is left to compare are definitions.
    """
    generator = torch.Generator().manual_seed(1)
    shape = (len(FEATURES), N_DRAWS, N_ROWS, N_LATENTS)
    draws = torch.randn(shape, generator=generator, dtype=torch.float64)
    draws = draws - draws.mean(1, keepdim=True)
    return (draws / draws.std(1, correction=0, keepdim=True)).flatten(1, 2)


def their_mixture_terms(
    ours: MultimodalVAE, dataset: MultimodalBaseDataset, noise: Tensor, beta: float
) -> dict[str, Tensor]:
    """Return MMVAE's terms; its divergence is what its loss has beside the reconstruction."""
    settings = {"prior_and_posterior_dist": "normal", "loss": "iwae_looser", "learn_prior": False}
    theirs = their_model(MMVAE, MMVAEConfig, ours, K=1, beta=beta, **settings)
    recorded = record_reconstructions(theirs)
    with their_draws(noise):
        total = theirs(dataset).loss / len(dataset)
    reconstruction = torch.stack(recorded).mean(-1).sum() / len(FEATURES)
    return {
        "reconstruction": reconstruction,
        "divergence": total - reconstruction,
        "total": total,
    }


def subset_rows() -> list[Row]:
    """Compare `mopoe` with MoPoE, as we define it and with N(0, I) as an expert of all."""
    name = "mopoe / MoPoE"
    rows, dataset, noise = prepare(N_ROWS)
    noise = noise[:1]
    ours = our_model("mopoe")
    theirs = their_model(MoPoE, MoPoEConfig, ours, beta=BETA)
    inferred = theirs.inference(dataset)
    order = order_like_theirs(list(inferred["subsets"]))
    joint = subset_products(ours.encode(rows))
    changed = with_prior_on_all(joint)
    total = ours(rows, rows, SharedNoise(noise, order), training=False).total(BETA)
    recorded = record_reconstructions(theirs)
    with their_draws(noise):
        output = theirs(dataset)
    read = torch.stack(recorded).sum(0)
    their_mean = output.metrics["joint_divergence"]

    plain, with_normal = (decode_subsets(ours, j, noise, order, rows) for j in (joint, changed))
    mean, mean_with_normal = (standard_divergences(j.components).mean() for j in (joint, changed))
    whole = order >= N_ROWS - N_ROWS // len(subset_names())
    why = "multivae multiplies the product of all modalities with N(0, I), ours does not"
    return [
        beside(
            name,
            "subsets in the mixture",
            len(joint.weights),
            len(inferred["mus"]),
            f"the same; the empty subset, in multivae's list of {len(theirs.subsets)}, is skipped",
        ),
        *subset_divergence_rows(name, joint, changed, theirs, inferred, why),
        beside(name, "KL, mean of all subsets", mean, their_mean, why),
        beside(
            name, "KL, mean of all subsets, N(0, I) put into ours", mean_with_normal, their_mean
        ),
        beside(
            name,
            "reconstruction, rows of other subsets",
            plain[~whole].mean(),
            read[~whole].mean(),
        ),
        beside(
            name,
            "reconstruction, rows of the subset of all",
            plain[whole].mean(),
            read[whole].mean(),
            why,
        ),
        beside(
            name,
            "reconstruction, rows of the subset of all, N(0, I) put into ours",
            with_normal[whole].mean(),
            read[whole].mean(),
        ),
        beside(name, f"total, beta {BETA}", total, output.loss, why),
        beside(
            name,
            f"total, beta {BETA}, N(0, I) put into ours",
            with_normal.mean() + BETA * mean_with_normal,
            output.loss,
        ),
        uneven_batch_row(name, ours, theirs),
    ]


def subset_divergence_rows(
    name: str,
    joint: JointPosterior,
    changed: JointPosterior,
    theirs: BaseMultiVAE,
    inferred: dict[str, Tensor],
    why: str,
) -> Iterator[Row]:
    """Compare the KL of every subset, in our order; the last is the subset of all."""
    one = torch.ones(1, N_ROWS, dtype=torch.float64)
    places = {key: i for i, key in enumerate(inferred["subsets"])}
    ours, with_normal = (standard_divergences(j.components).mean((1, 2)) for j in (joint, changed))
    for s, key in enumerate(subset_names()):
        mean, log_variance = (inferred[part][[places[key]]] for part in ("mus", "logvars"))
        their_kl = theirs.calc_joint_divergence(mean, log_variance, one)["joint_divergence"]
        term = f"KL, {key.replace('_', '·')}"
        last = s == len(places) - 1
        yield beside(name, term, ours[s], their_kl, why if last else "")
        if last:
            yield beside(name, f"{term}, N(0, I) put into ours", with_normal[s], their_kl)


def subset_names() -> list[str]:
    """Name our subsets, in our order, as multivae names them."""
    table = subset_table(len(FEATURES)).tolist()
    return ["_".join(m for m, inside in zip(FEATURES, row, strict=True) if inside) for row in table]


def order_like_theirs(their_subsets: list[str]) -> Tensor:
    """Return the places in our round of subsets that give each row the subset multivae gives it.

    It gives the first rows of a batch to its first subset, the next to its second, and so on.
    """
    size = N_ROWS // len(their_subsets)
    ours = subset_names()
    return torch.cat([ours.index(key) * size + torch.arange(size) for key in their_subsets])


def with_prior_on_all(joint: JointPosterior) -> JointPosterior:
    """Make N(0, I) one more expert of the subset of all modalities, the last of ours."""
    normal = with_prior(joint.components)
    mean, scale = joint.components.mean.clone(), joint.components.scale.clone()
    mean[-1], scale[-1] = normal.mean[-1], normal.scale[-1]
    return JointPosterior(Normal(mean, scale), joint.weights)


def decode_subsets(
    model: MultimodalVAE, joint: JointPosterior, noise: Tensor, order: Tensor, rows: list[Tensor]
) -> Tensor:
    """Return each row's reconstruction from a draw of the subset that `order` gives it."""
    chosen = joint.pick((order.unsqueeze(0) + 0.5) / len(order))
    latent = chosen.mean + chosen.scale * noise
    return our_reconstruction(model, latent.expand(len(FEATURES), *latent.shape), rows)


def uneven_batch_row(name: str, ours: MultimodalVAE, theirs: BaseMultiVAE) -> Row:
    """Count the rows that decode the subset of all where subsets do not divide the batch."""
    rows, dataset, noise = prepare(UNEVEN_ROWS)
    posteriors = ours.encode(rows)
    still = SharedNoise(torch.zeros_like(noise))  # draws that show which mean they come from
    latent = ours.rule.terms(posteriors, still, ours.options, None).latents[0, 0]
    inferred = theirs.inference(dataset)
    counts = (
        torch.isclose(latent, subset_products(posteriors).components.mean[-1]).all(-1).sum(),
        torch.isclose(inferred["joint"][0], inferred["mus"][-1]).all(-1).sum(),
    )
    return beside(
        name,
        f"rows of the subset of all, batch of {UNEVEN_ROWS}",
        *counts,
        "multivae gives rows to subsets in their order and what is left over to the subset of "
        "all; ours permutes them and spreads what is left over",
    )


if __name__ == "__main__":
    with torch.no_grad():
        table = pd.DataFrame([*product_rows(), *mixture_rows(), *subset_rows()])
    RESULTS.mkdir(exist_ok=True)
    table.to_csv(RESULTS / "multivae_terms.csv", index=False, float_format="%.6f")
    print(f"multivae {version('multivae')}, nats per row")
    print(table.to_string(index=False, float_format="{:.6f}".format))
