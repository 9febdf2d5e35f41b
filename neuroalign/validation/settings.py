"""What a validation study is told, and the presets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

from neuroalign.errors import ParameterError
from neuroalign.nn.sharing import SHARING_RULES

METHODS: Final = ("independent", "aggregated", "poe", "moe", "mopoe", "mm-vamp")


@dataclass(frozen=True)
class StudySettings:
    """Networks, training and scoring of a validation study.

    Attributes
    ----------
    methods : tuple of str
        Names of `sharing`.
    betas : tuple of float
        Values of β that every method is fitted with.
    seeds : tuple of int
        Each decides initial weights, the order of rows and posterior samples.
    n_latents : int
        Size of the latent.
    image_filters, text_filters : tuple of int
        Channels of the residual stages.
    stem_stride : int
        Stride of the first convolution of image networks; 2 or 4 save most of the work. Where it
        is not 1, that of text networks is 2.
    branch_weight : float
        What the corrections of residual blocks count; 0.1 in the published networks.
    train_rows : int or None
        How many of the training rows the networks see; None is all.
    redraw : bool
        Whether what was composed here is composed anew in every epoch of training: digits at
        other places on other pieces of background, names of attributes in another order at
        another place of a text.
    epochs, batch_size : int
        Passes over the training rows, and rows per step.
    learning_rate : float
        Of the Adam optimiser.
    weight_averaging : float
        What a running average of the weights, which is what is scored, keeps at each step;
        0 scores the last weights, as the published networks are.
    gradient_clip : float or None
        Largest norm of the gradient of a step (nats per row); pairwise divergences between
        narrow posteriors can throw a fit far off within a few steps.
    standard_weight_epochs : float
        Epochs over which mm-vamp's term to N(0, I) falls from 1 to 0; 0 leaves it out.
    divergence : str
        "pairwise" or "mixture", of mm-vamp.
    classifier_rows : int
        Most training latents a classifier is trained on.
    judge_rows : int or None
        How many of the training rows judges learn from; None is all.
    judge_images : int
        Images shown to the classifier that judges generated ones while it learns, counting
        every pass over its rows.
    """

    methods: tuple[str, ...] = METHODS
    betas: tuple[float, ...] = (0.1,)
    seeds: tuple[int, ...] = (0,)
    n_latents: int = 64
    image_filters: tuple[int, ...] = (16, 32, 64)
    text_filters: tuple[int, ...] = (16, 16, 32, 32, 32)
    stem_stride: int = 2
    branch_weight: float = 0.3
    train_rows: int | None = None
    redraw: bool = False
    epochs: int = 25
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_averaging: float = 0.998
    gradient_clip: float | None = 4000.0
    standard_weight_epochs: float = 0.0
    divergence: str = "pairwise"
    classifier_rows: int = 10_000
    judge_rows: int | None = None
    judge_images: int = 120_000

    def __post_init__(self) -> None:
        unknown = [method for method in self.methods if method not in SHARING_RULES]
        if unknown:
            raise ParameterError(
                f"unknown method {unknown[0]!r}; choose from {', '.join(SHARING_RULES)}."
            )
        if self.divergence not in {"pairwise", "mixture"}:
            raise ParameterError(
                f'divergence must be "pairwise" or "mixture", got {self.divergence!r}.'
            )
        for name in ("methods", "betas", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ParameterError(f"{name} must be some different values, got {values}.")
        for name in ("n_latents", "epochs", "batch_size", "judge_images", "classifier_rows"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not self.learning_rate > 0:
            raise ParameterError(f"learning_rate must be positive, got {self.learning_rate}.")
        if not 0 <= self.weight_averaging < 1:
            raise ParameterError(
                f"weight_averaging must be at least 0 and below 1, got {self.weight_averaging}."
            )
        if self.gradient_clip is not None and not self.gradient_clip > 0:
            raise ParameterError(f"gradient_clip must be positive, got {self.gradient_clip}.")
        if any(not beta >= 0 for beta in self.betas):
            raise ParameterError(f"betas must not be negative, got {self.betas}.")

    def of_fit(self) -> dict[str, Any]:
        """Return what a single fit depends on besides method, β and seed."""
        studied = {"methods", "betas", "seeds", "classifier_rows", "judge_rows", "judge_images"}
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in studied}


_POWERS_POLYMNIST: Final = tuple(2.0**k for k in range(-8, 4))
_POWERS_CELEBA: Final = tuple(2.0**k for k in range(-2, 3))
_WIDE: Final[dict[str, Any]] = {
    "stem_stride": 1,
    "branch_weight": 0.1,
    "weight_averaging": 0.0,
    "gradient_clip": None,
    "judge_images": 1_000_000,
}

# "paper": the text of sections 5 and B; "code": the published programs, which differ from it
PRESETS: Final[dict[str, dict[str, StudySettings]]] = {
    "polymnist": {
        "quick": StudySettings(),
        "paper": StudySettings(
            betas=_POWERS_POLYMNIST, seeds=tuple(range(5)), n_latents=512,
            image_filters=(64, 128, 256), epochs=500, batch_size=256, learning_rate=5e-4, **_WIDE,
        ),
        "code": StudySettings(
            betas=_POWERS_POLYMNIST[1:], seeds=tuple(range(5)), n_latents=512,
            image_filters=(64, 128, 256), epochs=500, batch_size=128, learning_rate=5e-4,
            standard_weight_epochs=320.0, **_WIDE,
        ),
    },
    "celeba": {
        "quick": StudySettings(
            image_filters=(24, 48, 64), text_filters=(32, 32, 32, 32, 32), stem_stride=4,
            epochs=15, train_rows=2000, gradient_clip=20_000.0,
            betas=(1.0,),
        ),
        "paper": StudySettings(
            betas=_POWERS_CELEBA, seeds=tuple(range(3)), n_latents=128,
            image_filters=(64, 128, 192, 256, 320), text_filters=(64, 128, 192, 256, 320, 320),
            epochs=250, batch_size=256, learning_rate=2e-4, **_WIDE,
        ),
        "code": StudySettings(
            betas=_POWERS_CELEBA, seeds=tuple(range(3)), n_latents=128,
            image_filters=(64, 128, 192, 256, 320), text_filters=(64, 128, 192, 256, 320, 320),
            epochs=400, batch_size=256, learning_rate=5e-4, standard_weight_epochs=200.0, **_WIDE,
        ),
    },
}  # fmt: skip
