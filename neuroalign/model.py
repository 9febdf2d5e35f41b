"""SharedLatentModel: the estimator a user meets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from neuroalign.applying import AppliesFit
from neuroalign.data.randomness import resolve_seed
from neuroalign.data.trial_selection import label_names
from neuroalign.errors import DataError, ParameterError
from neuroalign.fitted import FittedModel
from neuroalign.fitting import fit_model
from neuroalign.preparation import resolve_label
from neuroalign.schema import iterate_subjects, validate
from neuroalign.settings import Hidden, resolved_settings

if TYPE_CHECKING:
    import pandas as pd

    from neuroalign.data.specs import DataSpec

Plan = float | Sequence[Sequence[float]]


class SharedLatentModel(AppliesFit, BaseEstimator):
    """One latent space for several subjects: an encoder and a decoder each, softly tied.

    The default is the MM-VAMP model: every subject keeps its own posterior, and the prior of
    each is the mixture of all subjects' posteriors for the same label and window position
    (Sutter et al., "Unity by Diversity", equations 1 to 4).

    Parameters
    ----------
    n_latents : int, default=8
        Dimensions of the shared latent space (the paper uses 2 for its rats).
    sharing : str, default="mm-vamp"
        * "mm-vamp": posteriors tied by the mixture of all (equations 3 and 4).
        * "independent": one variational autoencoder per subject, nothing shared.
        * "aggregated": one joint posterior from averaged parameters (equations 15 and 16).
        * "poe": one joint posterior, the product of all experts and N(0, I) (Wu and Goodman,
          2018), trained together with every subject's own posterior.
        * "moe": the mixture of all posteriors; every sample decodes every subject (Shi et al.,
          2019).
        * "mopoe": the mixture of the products of all subsets of subjects (Sutter et al., 2021),
          for at most ten subjects.
        * "autoencoder": one autoencoder per subject, the limit of small beta.
    divergence : str or schedule, default="pairwise"
        How "mm-vamp" measures distance: "pairwise" is the average of closed-form divergences
        between all pairs, an upper bound that the published code optimises; "mixture" is the
        divergence to the mixture as the paper writes it, which loses its gradient when
        posteriors do not overlap. A schedule such as [(0, 0), (20, 1)] goes from the first to
        the second.
    mixture_samples : int, default=1
        Monte Carlo samples per posterior for "mixture"; from two on they come in antithetic
        pairs, so an even number is well spent.
    standard_weight : float or schedule, default=0.0
        Share of the divergence to N(0, I) that is mixed into "mm-vamp" (0 to 1); the published
        image experiments lower it from 1 to 0 over the first part of training.
    likelihood : str, default="poisson"
        Of spike counts: "poisson", "negative-binomial" (dispersion learned per feature),
        "bernoulli" (at most one spike per bin) or "categorical" (a probability for each number
        of spikes). Of the scaled input: "gaussian" (scale 1/√2, squared error as in the paper)
        or "laplace" (scale 0.75).
    noise_scale : float, "learned" or None, default=None
        Scale of "gaussian" (or "learned", one per feature) and "laplace", instead of theirs.
    reconstruction_weights : mapping, "size" or None, default=None
        Weight of each subject's reconstruction term: 1 each, or by name, or "size", the largest
        subject's number of features over the subject's own, as the published image code does.
    scaling : str, default="sqrt-standard"
        What the encoders see: "sqrt-standard" (square roots, standardised by training trials),
        "standard", "sqrt" or "none" (raw counts, as in the paper).
    window_totals : bool, default=False
        Whether encoders also see each unit's spikes summed over the window, scaled in the same
        way: a sum is less noisy than its bins, and square roots cannot be summed back into it.
    beta : "auto", float or schedule, default="auto"
        Weight of the regularisation term; 1 is the objective as the paper derives it. Smaller
        values keep more of each subject's own variation, larger ones pull subjects together.
        "auto" is what read labels best on a simulation of five rats: 0.3 for likelihoods of
        counts, for "gaussian" 1 with standardised inputs and 0.1 with others, and ten times
        that with the mixture divergence; visual cortex of four mice asked for 1.
        It is not comparable between likelihoods, scalings or sharing rules: squared errors of
        scaled inputs are several times larger than Poisson terms. A list of (epochs, value)
        is a schedule: linear between its points, the last value from then on; training stops
        early only after that.
    encoder_hidden, decoder_hidden : sequence of int or "input", default=(), (64,)
        Widths of hidden layers; empty is linear; "input" is two layers as wide as the
        subject's input, as in the paper. With a few hundred trials linear encoders read
        held-out trials better than deeper ones, on simulated rats and on visual cortex.
    dropout : float, default=0.3
        Share of the encoder's inputs set to zero in training; about 0.5 for pairing "trial",
        where mixing does not apply.
    mixing : float, default=0.5
        Probability that a unit's counts in a training row come from a second trial of the same
        label and window position. Such surrogate trials keep what units do on average and
        loosen what they do together in single trials, which keeps encoders from learning
        their training trials by heart. Applies to pairing "resample"; 0 switches it off.
    pairing : str, default="resample"
        How trials of different subjects meet in a row: "resample" draws partners of the same
        label anew every epoch, "rank" pairs the k-th with the k-th trial of a label (the
        paper), "trial" pairs equal trial ids (simultaneous recordings).
    allow_missing : bool, default=False
        Whether subjects may lack labels (or trials, with "trial") that others have.
    max_epochs : int, default=200
        Longest training. An epoch passes over all rows, and over those of small data several
        times, so that it has at least 15 steps.
    batch_size : int, default=128
        Rows per step.
    weight_averaging : float, default=0.995
        Decay per step of a running average of the weights, which is what is validated and
        kept; 0 takes the weights themselves.
    n_init : int, default=1
        Random starts; the one with the best validation score is kept. They train side by side,
        four at a time on a CPU and on a GPU as many as memory holds.
    learning_rate, weight_decay : float, default=1e-3, 0.0
        Of Adam. If the history shows regularisation terms that jump by orders of magnitude,
        lower the learning rate.
    gradient_clip : float or None, default=30.0
        Largest norm of the gradient. Sharp posteriors that part for one step make the
        pairwise divergence huge, and an unclipped fit may not recover.
    validation_fraction : float, default=0.1
        Share of whole trials held out inside `fit` to decide when to stop; 0 trains to the end.
    patience : int or None, default=10
        Epochs without improvement on these trials before stopping; the best weights are kept.
        Improvement is that of `validation_score` in `history_`, the objective of the middle
        half of the rows: one odd trial can cost more than all others and must not decide.
    precision : str, default="float32"
        "float32", "bfloat16" or "float64".
    device : str, default="auto"
        "auto" takes a CUDA GPU if there is one; otherwise any torch device.
    random_state : int, Generator or None, default=None
        Seed; one seed gives one result, bit for bit, on one machine.
    verbose : bool, default=True
        Whether to show a progress bar.

    Attributes
    ----------
    subjects_ : list of str
        Subjects of the fit.
    unit_ids_ : dict
        Unit ids of each subject.
    classes_ : ndarray
        Label values.
    label_ : str or list of str
        The label that paired the trials.
    history_ : DataFrame
        Terms of the negative objective by epoch, nats per row; alignment and saturation of
        validation trials.
    best_epoch_ : int
        Epoch whose weights were kept.
    restarts_ : DataFrame
        Seed, best epoch and objective (nats per row, on rows that are the same for all) of
        every random start.
    alignment_ : float
        Distance between subjects over distance between labels, on validation trials.
    saturation_ : float
        Mixture term over M·log M, for information: sharp posteriors saturate it even when
        subjects agree.
    seed_ : int
        Seed of this fit.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(
    ...     units={"ada": 20, "bob": 16}, trials=60, mean_rate=8, random_state=0
    ... )
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> model = na.SharedLatentModel(3, beta=1.0, max_epochs=12, random_state=0, verbose=False)
    >>> latents = model.fit(train, label="odor").transform(test)
    >>> latents["ada"]["mean"].dims
    ('trial', 'window', 'latent')
    >>> scores = na.decode_labels(model.transform(train), latents, label="odor")
    >>> across = scores["accuracy"].sel(level="trial", train_subject="bob", test_subject="ada")
    >>> bool(across > 0.5)  # chance 0.25
    True
    """

    def __init__(
        self,
        n_latents: int = 8,
        *,
        sharing: str = "mm-vamp",
        divergence: str | Plan = "pairwise",
        mixture_samples: int = 1,
        standard_weight: Plan = 0.0,
        likelihood: str = "poisson",
        noise_scale: float | str | None = None,
        reconstruction_weights: Mapping[str, float] | str | None = None,
        scaling: str = "sqrt-standard",
        window_totals: bool = False,
        beta: Plan | Literal["auto"] = "auto",
        encoder_hidden: Hidden = (),
        decoder_hidden: Hidden = (64,),
        dropout: float = 0.3,
        mixing: float = 0.5,
        pairing: str = "resample",
        allow_missing: bool = False,
        max_epochs: int = 200,
        batch_size: int = 128,
        weight_averaging: float = 0.995,
        n_init: int = 1,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        gradient_clip: float | None = 30.0,
        validation_fraction: float = 0.1,
        patience: int | None = 10,
        precision: str = "float32",
        device: str = "auto",
        random_state: int | np.random.Generator | None = None,
        verbose: bool = True,
    ) -> None:
        self.n_latents = n_latents
        self.sharing = sharing
        self.divergence = divergence
        self.mixture_samples = mixture_samples
        self.standard_weight = standard_weight
        self.likelihood = likelihood
        self.noise_scale = noise_scale
        self.reconstruction_weights = reconstruction_weights
        self.scaling = scaling
        self.window_totals = window_totals
        self.beta = beta
        self.encoder_hidden = encoder_hidden
        self.decoder_hidden = decoder_hidden
        self.dropout = dropout
        self.mixing = mixing
        self.pairing = pairing
        self.allow_missing = allow_missing
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.weight_averaging = weight_averaging
        self.n_init = n_init
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def from_recipe(
        cls,
        spec: str | Path | Mapping[str, Any] | DataSpec,
        recipe: str = "recommended",
        **overrides: Any,
    ) -> Self:
        """Build the model that a data spec proposes.

        Parameters
        ----------
        spec : str, Path, mapping or DataSpec
            Anything `load_spec` takes.
        recipe : str, default="recommended"
            One of the spec's recipes.
        **overrides
            Arguments of the model that take precedence over the recipe.

        Raises
        ------
        SpecError
            If the spec has no such recipe.
        ParameterError
            If the recipe holds an argument the model does not have.
        """
        from neuroalign.data.specs import load_spec

        settings = {**load_spec(spec).recipe(recipe), **overrides}
        known = set(cls().get_params())
        unknown = sorted(set(settings) - known)
        if unknown:
            raise ParameterError(
                f"recipe {recipe!r} holds arguments the model does not have: "
                f"{', '.join(map(repr, unknown))}; it has: {', '.join(sorted(known))}."
            )
        return cls(**settings)

    def fit(
        self,
        windows: xr.DataTree,
        *,
        label: str | Sequence[str] | None = None,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Fit encoders and decoders of all subjects.

        Parameters
        ----------
        windows : DataTree
            Windowed counts, one child per subject; give training trials only.
        label : str or list of str, optional
            Trial coordinate(s) by which trials are paired; by default the spec's label.
        checkpoint : str or Path, optional
            File that keeps the state of the fit; an interrupted fit goes on from it to the same
            result, and a finished one removes it. Random starts that train in several pieces
            keep a file for each beside it.

        Returns
        -------
        SharedLatentModel
            The model itself.

        Raises
        ------
        DataError
            If the windows are not what a fit needs: the message says what is missing where.
        ParameterError
            If an argument makes no sense.
        TrainingError
            If a loss is not finite, or the fit does not fit into the memory of a GPU.
        """
        settings = resolved_settings(self.get_params(deep=False))
        datasets = dict(iterate_subjects(validate(windows, "windowed", argument="windows")))
        label_used = resolve_label(datasets, label)
        fitted = fit_model(
            datasets,
            label_used,
            settings,
            seed=resolve_seed(self.random_state),
            checkpoint=None if checkpoint is None else Path(checkpoint),
        )
        self._accept(fitted)
        fitted.warn()
        return self

    def _accept(self, fitted: FittedModel) -> None:
        """Take over the results of a fit, whether made just now or loaded."""
        self.fitted_ = fitted
        self.subjects_ = list(fitted.subjects)
        self.unit_ids_ = {name: list(s.unit_ids) for name, s in fitted.subjects.items()}
        self.classes_ = fitted.classes
        self.label_ = fitted.label
        self.history_: pd.DataFrame = fitted.history
        self.best_epoch_ = fitted.best_epoch
        self.restarts_: pd.DataFrame = fitted.restarts
        self.alignment_ = fitted.alignment
        self.saturation_ = fitted.saturation
        self.seed_ = fitted.seed

    def fit_transform(
        self, windows: xr.DataTree, *, label: str | Sequence[str] | None = None
    ) -> xr.DataTree:
        """Fit, then encode the same windows; see `fit` and `transform`."""
        return self.fit(windows, label=label).transform(windows)

    def add_subject(
        self,
        windows: xr.DataTree,
        *,
        label: str | Sequence[str] | None = None,
        random_state: int | np.random.Generator | None = None,
        **settings: Any,
    ) -> Self:
        """Let a new subject join: train its encoder and decoder against the others' latents.

        The prior is the mixture of the new subject's posterior and the stored posteriors of the
        others for the same label and window position, so the old recordings are not needed. No
        weight of another subject changes, and this model stays as it is.

        Parameters
        ----------
        windows : DataTree
            Windowed counts with one subject that is not in the fit (training trials only, with
            the label of the fit); subjects of the fit are ignored.
        label : str or list of str, optional
            The label of the fit, which it is by default; another one is refused.
        random_state : int, Generator or None, default=None
            Seed; by default the fit's.
        **settings
            How to train, where it should differ from the fit: `max_epochs`, `learning_rate`,
            `beta`, `validation_fraction` and the like.

        Returns
        -------
        SharedLatentModel
            A model of all subjects; its `history_` is that of the joining.

        Raises
        ------
        DataError
            If there is no new subject or more than one, or its windows or labels do not fit.
        ParameterError
            If sharing is not "mm-vamp", a setting says what the model is, or the label is not
            that of the fit.
        """
        from neuroalign.onboarding import add_subject

        check_is_fitted(self)
        validate(windows, "windowed", argument="windows")
        if label is not None and label_names(label) != label_names(self.label_):
            raise ParameterError(
                f"the trials of this fit were paired by {self.label_!r}, so a new subject's are "
                f"too; got label={label!r}."
            )
        new = [name for name in windows.children if name not in self.subjects_]
        if len(new) != 1:
            raise DataError(
                "add_subject takes one new subject at a time, got "
                f"{', '.join(map(repr, new)) or 'none'} beside those of the fit "
                f"({', '.join(self.subjects_)})."
            )
        seed = self.seed_ if random_state is None else resolve_seed(random_state)
        fitted = add_subject(
            self.fitted_, new[0], windows[new[0]].to_dataset(), seed=seed, overrides=settings
        )
        grown = type(self)(**self.get_params(deep=False))
        grown.reconstruction_weights = fitted.settings["reconstruction_weights"]
        grown._accept(fitted)  # noqa: SLF001  (of the same class)
        fitted.warn()
        return grown

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the model as a folder of safetensors, JSON and CSV; see `load`.

        Raises
        ------
        ModelFileError
            If the folder exists and `overwrite` is not set.
        """
        from neuroalign.persistence import save_fitted

        check_is_fitted(self)
        return save_fitted(self.fitted_, self.get_params(deep=False), Path(path), overwrite)

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto") -> Self:
        """Read a saved model; nothing in the files is executed.

        Parameters
        ----------
        path : str or Path
            The folder that `save` wrote.
        device : str, default="auto"
            Where the model is to work.

        Raises
        ------
        ModelFileError
            If the folder is no saved model, is damaged, or is of a newer format.
        """
        from neuroalign.persistence import load_fitted

        fitted, settings = load_fitted(Path(path), device)
        model = cls(**settings)
        model._accept(fitted)
        return model

    def __sklearn_is_fitted__(self) -> bool:
        """Tell scikit-learn whether the model was fitted."""
        return hasattr(self, "fitted_")
