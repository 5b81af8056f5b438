import pytest

from blurgate.measuring import machine_code

OBJECTS = {}


@pytest.fixture
def compiled(monkeypatch):
    """Widths for which code was compiled; what has been compiled before is taken from memory."""
    made = []
    make = machine_code._make_object

    def make_once(llvm, target, width):
        made.append(width)
        if width not in OBJECTS:
            OBJECTS[width] = make(llvm, target, width)
        return OBJECTS[width]

    monkeypatch.setattr(machine_code, "_make_object", make_once)
    return made
