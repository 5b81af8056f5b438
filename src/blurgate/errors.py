"""Errors outside the caller's control, and the wording of messages.

::

    BlurgateError
    ├── PhotoError         a photo cannot be read or judged
    │   └── SmallPhotoError    the photo is readable, but too small to judge
    ├── DatasetError       photos, labels or a table cannot be used as requested
    ├── ModelFileError     a model file is missing, damaged, or needs other features
    │   └── NetError           a model's net cannot be run, or does not answer with finite numbers
    ├── OutputError        an output cannot be written
    ├── StudyFileError     a study file is damaged, or belongs to another search
    └── MissingExtraError  an optional dependency is missing

A caller's mistake (a wrong type, a parameter out of range) raises a plain ``TypeError`` or ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module


class BlurgateError(Exception):
    """Base class of the errors that blurgate raises for faults outside the caller's control."""


class PhotoError(BlurgateError):
    """A photo cannot be read or judged."""


class SmallPhotoError(PhotoError):
    """A photo is readable, but too small to judge."""


class DatasetError(BlurgateError):
    """Photos, labels or a feature table cannot be used as requested."""


class ModelFileError(BlurgateError):
    """A model file is missing, damaged, or needs other features."""


class NetError(ModelFileError):
    """A model's net cannot be run, or does not answer with finite numbers."""


class OutputError(BlurgateError):
    """An output cannot be written."""


class StudyFileError(BlurgateError):
    """A study file is damaged, or belongs to another search."""


class MissingExtraError(BlurgateError):
    """An optional dependency is missing.

    Parameters
    ----------
    message : str
    extra : str
        Name of the extra that installs it, as in ``pip install 'blurgate[extra]'``; also an attribute.
    """

    def __init__(self, message: str, extra: str) -> None:
        super().__init__(message)
        self.extra = extra


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Turn a failed import into an error that names the extra to install.

    Parameters
    ----------
    extra : str
        Name of the extra, as in ``pip install 'blurgate[extra]'``.
    purpose : str
        What needs the extra: the start of the message.

    Yields
    ------
    None

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
    except ImportError as error:  # installed, but a system library is missing, such as OpenCV's libGL on a bare server
        raise MissingExtraError(
            f"{purpose} needs the extra '{extra}', which is installed but cannot be loaded ({error}): "
            "install the system library that it names",
            extra,
        ) from error


def require_extra(extra: str, purpose: str) -> None:
    """Import the modules of an extra now, so that a long job does not fail at its end because one is missing.

    Parameters
    ----------
    extra : str
        A key of `EXTRAS`.
    purpose : str
        What needs the extra: the start of the message.

    Raises
    ------
    MissingExtraError
        If a module of the extra is not installed or cannot be loaded.
    """
    with needs_extra(extra, purpose):
        for module in EXTRAS[extra]:
            import_module(module)


def name_first(names: Sequence[str]) -> str:
    """Name the first four and count the others: a table may lack a hundred columns.

    Examples
    --------
    >>> name_first(["a", "b", "c", "d", "e", "f"])
    'a, b, c, d and 2 more'
    """
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def escape_unprintable(text: str) -> str:
    r"""Escape control characters: a file name must not break a line or colour the terminal.

    Examples
    --------
    >>> print(escape_unprintable("cat\n.jpg"))
    cat\n.jpg
    """
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


EXTRAS = {  # extra -> modules that it installs
    "train": ("sklearn", "scipy", "xgboost", "optuna"),
    "report": ("matplotlib", "jinja2"),
    "parquet": ("pyarrow",),
    "demo": ("skimage", "sklearn", "scipy", "xgboost", "optuna", "matplotlib", "jinja2"),
}
