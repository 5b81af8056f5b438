import errno
import pickle
from pathlib import Path

import pytest

from blurgate.errors import (
    BlurgateError,
    MachineError,
    MissingExtraError,
    PhotoError,
    SmallPhotoError,
    find_machine_error,
    needs_extra,
    raise_machine_error,
    require_several,
)


def test_every_error_is_a_blurgate_error():
    assert issubclass(SmallPhotoError, PhotoError)
    assert issubclass(PhotoError, BlurgateError)


def test_missing_module_names_the_extra_and_the_command():
    with pytest.raises(MissingExtraError, match=r"Serving needs the extra 'serve' .*: install it with .*\[serve\]"):
        with needs_extra("serve", "Serving"):
            raise ModuleNotFoundError("No module named 'fastapi'")


def test_unloadable_module_names_the_system_library():
    with pytest.raises(
        MissingExtraError, match=r"installed but cannot be loaded \(libGL.so.1: .*install the system lib"
    ):
        with needs_extra("blurgenerator", "Blurring"):
            raise ImportError("libGL.so.1: cannot open shared object file")


def test_other_errors_pass_through():
    with pytest.raises(KeyError), needs_extra("serve", "Serving"):
        raise KeyError("x")


def raised_by(cause):
    """The error of a photo, as reading it raises it."""
    try:
        try:
            raise cause
        except type(cause) as error:
            raise PhotoError("a.jpg cannot be read") from error
    except PhotoError as error:
        return error


def test_what_is_wrong_with_the_machine_is_found_among_the_causes():
    with pytest.raises(MachineError, match=r"Too many open files\): raise the limit of open files"):
        raise_machine_error(raised_by(OSError(errno.EMFILE, "Too many open files")))
    for cause in (OSError(errno.EIO, "Input/output error"), MemoryError()):
        found = find_machine_error(raised_by(cause))
        assert found
        assert not found.certain
        raise_machine_error(raised_by(cause))  # one photo may be to blame
    assert find_machine_error(raised_by(OSError(errno.EACCES, "Permission denied"))) is None
    assert find_machine_error(raised_by(ValueError("torn"))) is None


@pytest.mark.parametrize("one", ["*.png", b"*.png", Path("a")])
def test_one_text_in_place_of_several_is_refused(one):
    with pytest.raises(TypeError, match="include must be a list, got "):
        require_several("include", one)
    require_several("include", [one])


@pytest.mark.parametrize("error", [MachineError("no files", 24), MissingExtraError("no train", "train")])
def test_errors_survive_another_process(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
