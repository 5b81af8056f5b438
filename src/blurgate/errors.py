"""What can go wrong outside the caller's control.

::

    BlurgateError
    ├── PhotoError         a picture cannot be read or judged
    │   └── SmallPhotoError    it is readable, but too small to judge
    ├── DatasetError       photos, labels or a table cannot be used as asked
    ├── ModelFileError     a model file is missing, damaged, or needs other features
    ├── OutputError        something cannot be written where it was asked for
    ├── StudyFileError     a study file is damaged, or belongs to another search
    └── MissingExtraError  an optional dependency is needed and not installed

A caller's mistake (a wrong type, a parameter out of range) is a plain ``TypeError`` or ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


class BlurgateError(Exception):
    """Root of every error that blurgate raises for the world's faults."""


class PhotoError(BlurgateError):
    """A picture cannot be read or judged."""


class SmallPhotoError(PhotoError):
    """A picture is readable, but too small to judge."""


class DatasetError(BlurgateError):
    """Photos, labels or a feature table cannot be used as asked."""


class ModelFileError(BlurgateError):
    """A model file is missing, damaged, or needs other features."""


class OutputError(BlurgateError):
    """Something cannot be written where it was asked for."""


class StudyFileError(BlurgateError):
    """A study file is damaged, or belongs to another search."""


class MissingExtraError(BlurgateError):
    """An optional dependency is needed and not installed; ``extra`` is its name."""

    def __init__(self, message: str, extra: str) -> None:
        super().__init__(message)
        self.extra = extra


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Turn a failed import into a sentence that names the extra.

    Parameters
    ----------
    extra : str
        Name of the optional dependency group, as in ``pip install 'blurgate[extra]'``.
    purpose : str
        What it is needed for: the start of the message.

    Raises
    ------
    MissingExtraError
        In place of any ImportError raised in the block.

    Examples
    --------
    >>> with needs_extra("parquet", "Writing Parquet"):
    ...     import no_such_module
    Traceback (most recent call last):
    ...
    blurgate.errors.MissingExtraError: Writing Parquet needs the extra 'parquet' (No module named 'no_such_module'): \
install it with pip install 'blurgate[parquet]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{purpose} needs the extra '{extra}' ({error}): install it with pip install 'blurgate[{extra}]'",
            extra,
        ) from error
    except ImportError as error:  # installed, but a system library is missing, as libGL is for OpenCV on a bare server
        raise MissingExtraError(
            f"{purpose} needs the extra '{extra}', which is installed but cannot be loaded ({error}): "
            "install the system library that it names",
            extra,
        ) from error


def require_extra(extra: str, purpose: str) -> None:
    """Import what an extra brings, so that a long job does not fail for it at the end.

    Parameters
    ----------
    extra : str
        A name out of `EXTRAS`.
    purpose : str
        What it is needed for: the start of the message.

    Raises
    ------
    MissingExtraError
        If a module of the extra is not installed or cannot be loaded.
    """
    with needs_extra(extra, purpose):
        for module in EXTRAS[extra]:
            import_module(module)


EXTRAS = {  # extra -> modules that it brings
    "train": ("sklearn", "scipy", "xgboost", "optuna"),
    "report": ("matplotlib", "jinja2"),
    "parquet": ("pyarrow",),
    "demo": ("skimage", "sklearn", "scipy", "xgboost", "optuna", "matplotlib", "jinja2"),
}
