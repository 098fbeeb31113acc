"""Errors a user can cause: a stage prints the message and exits with status 2, no traceback.

Each is raised with one message: what is wrong, the value found, the value expected, the remedy.
"""


class PipelineError(Exception):
    """Base of every error that a user can cause and mend."""


class ConfigError(PipelineError, ValueError):
    """A configuration key is missing, unknown, ill-typed or out of range."""


class SourceError(PipelineError, ValueError):
    """A text or chat source is missing, empty, malformed or too small."""


class ModelError(PipelineError, ValueError):
    """A model or tokenizer is missing, or does not fit the configuration or its partner."""


class ArtifactError(PipelineError):
    """An artifact on disk cannot be used as it is."""


class MissingArtifactError(ArtifactError, FileNotFoundError):
    """An artifact that an earlier stage makes is not there."""


class MismatchError(ArtifactError, ValueError):
    """An artifact was made under another configuration than the one in force."""


class DamagedStoreError(ArtifactError, ValueError):
    """A chunk of a store is missing, short, long, altered or foreign."""


class BusyError(ArtifactError, RuntimeError):
    """Another process is building the same artifact."""


class NoSpaceError(PipelineError, OSError):
    """The disk is full; the work done so far is kept."""


class OutOfMemoryError(PipelineError, MemoryError):
    """A device or the machine has too little memory for the sizes configured."""


class ReductionError(PipelineError, RuntimeError):
    """The processes of a job cannot reduce together, though none is known to be lost."""


class LostProcessError(PipelineError, RuntimeError):
    """Another process of a job that runs in several has ended or does not answer."""


class EndpointError(PipelineError, RuntimeError):
    """An endpoint that was asked for text gave none."""


class NonFiniteError(PipelineError, ArithmeticError):
    """A loss, gradient or activation is not finite."""


def is_lack_of_memory(error: Exception) -> bool:
    """Whether an error of Python, NumPy or PyTorch says that memory could not be had.

    PyTorch has a class for it on a GPU, told by its name so that this imports nothing; on the CPU
    it raises a RuntimeError that says so. More than a machine can count is more than it has.
    """
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(words in str(error) for words in NO_MEMORY)


NO_MEMORY = (
    "can't allocate memory",
    "Storage size calculation overflowed",
    "Maximum allowed dimension exceeded",
    "array is too big",
)
"""What PyTorch and NumPy say on the CPU where an array would be too large."""
