import pytest

from blurgate.errors import BlurgateError, MissingExtraError, PhotoError, SmallPhotoError, needs_extra


def test_every_error_is_a_blurgate_error():
    assert issubclass(SmallPhotoError, PhotoError)
    assert issubclass(PhotoError, BlurgateError)


def test_missing_module_names_the_extra_and_the_command():
    with pytest.raises(MissingExtraError, match=r"Serving needs the extra 'serve' .*pip install 'blurgate\[serve\]'"):
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
