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
    ├── ServiceError       a service that judges over HTTP cannot be reached, refuses, or gives no valid answer
    ├── MachineError       the machine cannot go on, whatever the photo: too many open files, a disk that is gone
    └── MissingExtraError  an optional dependency is missing

A caller's mistake (a wrong type, a parameter out of range) raises a plain ``TypeError`` or ``ValueError``.
"""

from __future__ import annotations

import errno
import html
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any


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


class ServiceError(BlurgateError):
    """A service that judges over HTTP cannot be reached, refuses the token, stays busy, or gives no valid answer."""


class MachineError(BlurgateError):
    """The machine cannot go on, whatever the photo: too many open files, no memory, a disk that is gone.

    Parameters
    ----------
    message : str
    number : int
        Number of the system's error, as in `errno`; also an attribute.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number

    def __reduce__(self) -> tuple[type[MachineError], tuple[str, int]]:
        return type(self), (str(self), self.number)  # else pickling forgets the number

    @property
    def certain(self) -> bool:
        """False if a single photo may be to blame: one too large for the memory, or on a bad spot of the disk."""
        return self.number in (errno.EMFILE, errno.ENFILE)


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

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (str(self), self.extra)


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
    blurgate.errors.MissingExtraError: Writing Parquet needs the extra 'parquet' (No module named ...): install it ...
    """
    try:
        yield
    except ModuleNotFoundError as error:
        from blurgate.installation import write_install_command  # slow to import, and rarely needed

        raise MissingExtraError(
            f"{purpose} needs the extra '{extra}' ({error}): install it with {write_install_command(extra)}",
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


def find_machine_error(error: BaseException | None) -> MachineError | None:
    """Find what is wrong with the machine, rather than with one photo, among the causes of an error.

    Parameters
    ----------
    error : BaseException or None

    Returns
    -------
    MachineError or None
        None if nothing is. A single photo may be to blame after all unless it is ``certain``.
    """
    while error is not None:
        if isinstance(error, MachineError):
            return error
        number = errno.ENOMEM if isinstance(error, MemoryError) else error.errno if isinstance(error, OSError) else None
        if number in _MACHINE_ERRORS:
            return MachineError(f"the machine cannot go on ({os.strerror(number)}): {_MACHINE_ERRORS[number]}", number)
        error = error.__cause__ or error.__context__
    return None


def raise_machine_error(error: BaseException) -> None:
    """Raise what is certainly wrong with the machine, so that it is not counted as the error of each photo.

    Parameters
    ----------
    error : BaseException
        What a photo or a folder has raised.

    Raises
    ------
    MachineError
        If too many files are open.
    """
    problem = find_machine_error(error)
    if problem and problem.certain:
        raise problem from error


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


def escape_markup(text: str) -> str:
    r"""Escape what HTML would take for markup, and control characters.

    Examples
    --------
    >>> print(escape_markup("<b>\n"))
    &lt;b&gt;\n
    """
    return html.escape(escape_unprintable(text))


def require_several(name: str, value: Any) -> None:
    """Refuse one text or path where several are expected: Python would take its letters one by one.

    Parameters
    ----------
    name : str
        Of the parameter.
    value : object

    Raises
    ------
    TypeError
        If `value` is a str, bytes or path.
    """
    if isinstance(value, str | bytes | os.PathLike):
        raise TypeError(f"{name} must be a list, got {value!r}: write [{value!r}]")


EXTRAS = {  # extra -> modules that it installs
    "train": ("sklearn", "scipy", "xgboost", "optuna", "imagehash"),
    "report": ("matplotlib", "jinja2"),
    "parquet": ("pyarrow",),
    "remote": ("fsspec", "aiohttp", "s3fs", "gcsfs", "adlfs", "pyarrow"),
    "serve": ("fastapi", "uvicorn", "httptools", "python_multipart", "prometheus_client"),
    "client": ("httpx",),
    "ray": ("ray", "pyarrow"),
    "demo": ("skimage", "sklearn", "scipy", "xgboost", "optuna", "imagehash", "matplotlib", "jinja2"),
}

_OPEN_FILES = "raise the limit of open files (ulimit -n), or lower --jobs; blurgate holds one open per job"
_DISK = "check that the disk or share of the photos is connected and whole"
_MACHINE_ERRORS = {  # number of the system's error -> what to do
    errno.EMFILE: _OPEN_FILES,
    errno.ENFILE: "close other programs, or lower --jobs",
    errno.ENOMEM: "free memory, or lower --jobs or --max-megapixels",
    errno.EIO: _DISK,
    errno.ESTALE: _DISK,
    errno.ENODEV: _DISK,
    errno.ENOTCONN: _DISK,
    errno.EHOSTDOWN: _DISK,
    errno.ETIMEDOUT: _DISK,
}
