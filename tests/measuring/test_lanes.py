import ctypes

import numpy as np
import pytest

from blurgate.measuring.lanes import Code, join_functions, lanes
from blurgate.measuring.machine_code import address_of

llvm = pytest.importorskip("llvmlite.binding", reason="needs the extra fast")


def run(write, numbers, *, out):
    """Compile a function that reads an array and writes another, and call it."""
    code = Code("calculate", {"numbers": "ptr", "count": "i64", "out": "ptr"})
    write(code, code.argument("numbers"), code.argument("count"), code.argument("out"))
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(join_functions([code]))
    module.verify()
    engine = llvm.create_mcjit_compiler(module, llvm.Target.from_default_triple().create_target_machine())
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    kind(engine.get_function_address("calculate"))(address_of(numbers), len(numbers), address_of(out))
    return out


def test_integers_are_unsigned_and_shift_in_zeros():
    def write(code, numbers, _, out):
        x = code.load(lanes(4, "i8"), numbers)
        code.store(code.larger(x, 100), out)
        code.store(code.smaller(x, 100), out, 4)
        code.store(x >> 1, out, 8)
        code.store((x & 15) | 64, out, 12)

    numbers = np.asarray([0, 99, 128, 255], np.uint8)
    found = run(write, numbers, out=np.zeros(16, np.uint8)).reshape(4, 4)
    np.testing.assert_array_equal(
        found, [np.maximum(numbers, 100), np.minimum(numbers, 100), numbers >> 1, numbers & 15 | 64]
    )


def test_floats_are_rounded_as_in_numpy():
    def write(code, numbers, _, out):
        x = code.load(lanes(8, "float"), numbers)
        code.store(1 / 3 * x + 0.1 - x / 7.0, out)

    numbers = np.random.default_rng(0).normal(size=8).astype(np.float32)
    wanted = np.float32(1 / 3) * numbers + np.float32(0.1) - numbers / np.float32(7)
    np.testing.assert_array_equal(run(write, numbers, out=np.zeros(8, np.float32)), wanted)


def test_loops_conditions_and_variables():
    def write(code, numbers, count, out):
        total = code.variable(code.constant(0, "i64"))
        with code.loop(0, count) as i:
            each = code.load("i64", numbers, i)
            with code.when(code.compare(each, "sgt", 10)), code.loop(0, each) as j:
                total.set(total.get() + j)
        code.store(total.get(), out)
        halved = code.variable(total.get())
        with code.repeat_while() as repetition:
            repetition.check(code.compare(halved.get(), "ugt", 1))
            halved.set(halved.get() >> 1)
        code.store(halved.get(), out, 1)

    numbers = np.asarray([3, 12, -5, 40])
    found = run(write, numbers, out=np.zeros(2, np.int64))
    assert found.tolist() == [sum(range(12)) + sum(range(40)), 1]


def test_operands_of_two_types_are_refused():
    code = Code("calculate", {"count": "i64", "out": "ptr"})
    with pytest.raises(TypeError, match="operands must be of one type, got i64 and <2 x i8>"):
        code.argument("count") + code.load(lanes(2, "i8"), code.argument("out"))
