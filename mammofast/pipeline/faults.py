"""Whose fault an error is, whether it deserves a second try, and in which words it is recorded."""

from dataclasses import dataclass

from mammofast.errors import BrokenImage, EngineError, ImageError, Reason


@dataclass(frozen=True, slots=True)
class Fault:
    """What is kept of an error: the error itself holds on to all that the code which raised it had at hand.

    words: for the image's record. may_pass: whether its image deserves a second try.
    """

    words: str
    may_pass: bool

    @classmethod
    def of(cls, error: Exception, stage: str) -> "Fault":
        """Return what is to be kept of an error of a stage."""
        return cls(in_words(error, stage), may_pass(error))


def may_pass(error: Exception) -> bool:
    """Whether an image deserves a second try alone, though it is known that the error is its own.

    Memory may have been short because of others, a driver may have failed once, a NaN may come from another row.
    """
    return isinstance(error, MemoryError | EngineError) or (
        isinstance(error, ImageError) and error.reason == Reason.NOT_FINITE
    )


def in_words(error: Exception, stage: str) -> str:
    """Return the reason that an image's record shows, the stable first word of :class:`Reason` in front.

    The message of an error nobody expected may hold anything, a patient's name included, and is left out.
    """
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{Reason.TOO_LARGE}: no memory was left for this image in {stage!r}, even alone"
    if isinstance(error, EngineError):
        return str(BrokenImage(Reason.INTERNAL, f"the network of {stage!r} could not be run on this image"))
    return f"{Reason.INTERNAL}: {type(error).__name__}"
