"""Errors and warnings, all of which say: expected, got, where, remedy."""


class NeuroAlignError(Exception):
    """Base of every error that neuroalign raises on purpose."""


class SpecError(NeuroAlignError, ValueError):
    """A data spec is missing, malformed, or asks for what the files do not hold."""


class DataError(NeuroAlignError, ValueError):
    """Recordings, counts or latents are not what this step can work with."""


class ParameterError(NeuroAlignError, ValueError):
    """An argument has a value that makes no sense."""


class TrainingError(NeuroAlignError, RuntimeError):
    """A fit could not go on, for example because a loss was not finite."""


class ModelFileError(NeuroAlignError, ValueError):
    """A saved model or checkpoint is absent, damaged, or of another version."""


class NeuroAlignWarning(UserWarning):
    """Base of every warning that neuroalign gives."""


class DataWarning(NeuroAlignWarning):
    """Something in the recordings deserves a look, and work goes on without it."""


class AlignmentWarning(NeuroAlignWarning):
    """The subjects did not meet in the shared latent space."""


class CollapseWarning(NeuroAlignWarning):
    """The latents carry next to nothing about the label."""
