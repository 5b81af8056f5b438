"""Python expressions -> the text of a function for LLVM, the compiler behind the compiled engine.

A function of `blurgate.measuring.routines` runs once, as Python, on values that stand for numbers or for lanes of
numbers side by side. Each operation adds a line to the text; a Python loop writes its body out once per turn. LLVM
turns lanes into the widest instructions that a processor has; nothing depends on whether it finds them by itself.

References
----------
.. [1] LLVM Language Reference Manual, https://llvm.org/docs/LangRef.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

_FLOATS = ("float", "double")
_SIZES = {"i8": 1, "i16": 2, "i32": 4, "float": 4, "i64": 8, "double": 8}

Operand: TypeAlias = "Value | int | float"


def lanes(count: int, element: str) -> str:
    """Name the type of `count` numbers of a type side by side.

    Parameters
    ----------
    count : int
    element : str

    Returns
    -------
    str
    """
    return f"<{count} x {element}>"


def _element_of(type_: str) -> str:
    return type_.strip("<>").split(" x ")[-1]


def _count_of(type_: str) -> int:
    return int(type_[1:].split(" x ", maxsplit=1)[0]) if type_.startswith("<") else 1


def _write_constant(number: float, type_: str) -> str:
    element = _element_of(type_)
    if element in _FLOATS:  # LLVM reads float32 as float64, in hexadecimal
        (rounded,) = struct.unpack("f", struct.pack("f", number)) if element == "float" else (number,)
        text = f"0x{struct.pack('>d', rounded).hex().upper()}"
    else:
        text = str(int(number))
    if not type_.startswith("<"):
        return text
    return f"<{', '.join([f'{element} {text}'] * _count_of(type_))}>"


@dataclass(frozen=True, eq=False)
class Value:
    """A number, lanes of numbers, a truth or an address, as an operand of the next lines.

    Comparisons are written ``code.compare``; integers are unsigned where that makes a difference, except in `convert`.

    Parameters
    ----------
    code : Code
        The function that computes it.
    type : str
        In LLVM's notation.
    name : str
        Its name in the text, or the text of a constant.
    """

    code: Code
    type: str
    name: str

    def _join(self, integer: str, real: str, other: Operand, *, swapped: bool = False) -> Value:
        is_real = _element_of(self.type) in _FLOATS
        word = real if is_real else integer
        pair = [self.name, self.code.constant(other, self.type).name]
        first, second = reversed(pair) if swapped else pair
        return self.code.emit(self.type, f"{word} {self.type} {first}, {second}")

    def __add__(self, other: Operand) -> Value:
        return self._join("add", "fadd", other)

    def __sub__(self, other: Operand) -> Value:
        return self._join("sub", "fsub", other)

    def __mul__(self, other: Operand) -> Value:
        return self._join("mul", "fmul", other)

    def __rmul__(self, other: Operand) -> Value:
        return self._join("mul", "fmul", other, swapped=True)

    def __truediv__(self, other: Operand) -> Value:
        return self._join("udiv", "fdiv", other)

    def __rtruediv__(self, other: Operand) -> Value:
        return self._join("udiv", "fdiv", other, swapped=True)

    def __mod__(self, other: Operand) -> Value:
        return self._join("urem", "frem", other)

    def __and__(self, other: Operand) -> Value:
        return self._join("and", "", other)

    def __or__(self, other: Operand) -> Value:
        return self._join("or", "", other)

    def __xor__(self, other: Operand) -> Value:
        return self._join("xor", "", other)

    def __lshift__(self, other: Operand) -> Value:
        return self._join("shl", "", other)

    def __rshift__(self, other: Operand) -> Value:
        return self._join("lshr", "", other)


class Code:
    """The text of one function.

    Parameters
    ----------
    name : str
    arguments : dict
        Type of each argument by its name. Addresses (``ptr``) must not overlap.
    is_shared : bool
        Whether the function can be called from outside.
    """

    def __init__(self, name: str, arguments: dict[str, str], *, is_shared: bool = True) -> None:
        self.name, self._arguments, self._is_shared = name, arguments, is_shared
        self._entry: list[str] = []  # memory of the function, reserved before anything runs
        self._lines: list[str] = []
        self._intrinsics: dict[str, str] = {}
        self._n_names = 0
        self._block = "start"

    def argument(self, name: str) -> Value:
        """Take an argument of the function."""
        return Value(self, self._arguments[name], f"%{name}")

    def constant(self, number: Operand, type_: str) -> Value:
        """Make a constant of a type, the same in all lanes; a value stays as it is.

        Parameters
        ----------
        number : Value, int or float
        type_ : str

        Returns
        -------
        Value

        Raises
        ------
        TypeError
            If `number` is a value of another type.
        """
        if isinstance(number, Value):
            if number.type != type_:
                raise TypeError(f"operands must be of one type, got {type_} and {number.type}")
            return number
        return Value(self, type_, _write_constant(number, type_))

    def constants(self, numbers: Sequence[int], element: str) -> Value:
        """Make lanes of different constants.

        Parameters
        ----------
        numbers : sequence of int
        element : str

        Returns
        -------
        Value
        """
        texts = [f"{element} {_write_constant(number, element)}" for number in numbers]
        return Value(self, lanes(len(numbers), element), f"<{', '.join(texts)}>")

    def emit(self, type_: str, line: str) -> Value:
        """Add a line that computes a value.

        Parameters
        ----------
        type_ : str
        line : str

        Returns
        -------
        Value
        """
        name = self._new_name("v")
        self._lines.append(f"  {name} = {line}")
        return Value(self, type_, name)

    def compare(self, first: Value, relation: str, second: Operand) -> Value:
        """Compare two values with ``icmp`` or ``fcmp``; `relation` is in LLVM's notation.

        Parameters
        ----------
        first : Value
        relation : str
            A condition of ``icmp`` or ``fcmp``, such as ``ult``.
        second : Value, int or float

        Returns
        -------
        Value
        """
        word = "fcmp" if _element_of(first.type) in _FLOATS else "icmp"
        other = self.constant(second, first.type)
        return self.emit(_truth_of(first.type), f"{word} {relation} {first.type} {first.name}, {other.name}")

    def select(self, condition: Value, first: Operand, second: Operand) -> Value:
        """Take the first value where the condition holds, else the second; one of them must be a `Value`.

        Parameters
        ----------
        condition : Value
        first, second : Value, int or float

        Returns
        -------
        Value
        """
        type_ = first.type if isinstance(first, Value) else second.type  # type: ignore[union-attr]
        one, other = self.constant(first, type_), self.constant(second, type_)
        return self.emit(type_, f"select {condition.type} {condition.name}, {type_} {one.name}, {type_} {other.name}")

    def larger(self, first: Value, second: Operand) -> Value:
        """Compute the maximum of unsigned integers or of floats that are not NaN.

        Parameters
        ----------
        first : Value
        second : Value, int or float

        Returns
        -------
        Value
        """
        return self._extreme("umax", "ogt", first, second)

    def smaller(self, first: Value, second: Operand) -> Value:
        """Compute the minimum of unsigned integers or of floats that are not NaN.

        Parameters
        ----------
        first : Value
        second : Value, int or float

        Returns
        -------
        Value
        """
        return self._extreme("umin", "olt", first, second)

    def _extreme(self, word: str, relation: str, first: Value, second: Operand) -> Value:
        if _element_of(first.type) in _FLOATS:
            return self.select(self.compare(first, relation, second), first, second)
        return self.call(word, first, self.constant(second, first.type))

    def call(self, intrinsic: str, *operands: Value, result: str = "", more: str = "") -> Value:
        """Call an intrinsic function of LLVM, overloaded by the type of its first operand.

        Parameters
        ----------
        intrinsic : str
            Its name without ``llvm.`` and types.
        *operands : Value
        result : str
            The type of the result; by default that of the first operand.
        more : str
            Further operands, as text: a truth each.

        Returns
        -------
        Value
        """
        type_ = operands[0].type
        result = result or type_
        name = f"llvm.{intrinsic}.{_mangle(type_)}"
        listed = ", ".join(f"{operand.type} {operand.name}" for operand in operands) + more
        kinds = ", ".join([operand.type for operand in operands] + ["i1"] * bool(more))
        self._intrinsics[name] = f"declare {result} @{name}({kinds})"
        return self.emit(result, f"call {result} @{name}({listed})")

    def fuse(self, first: Operand, second: Value, third: Value) -> Value:
        """Compute ``first * second + third``, rounded once where the processor can do that, else as usual.

        Parameters
        ----------
        first : Value, int or float
        second, third : Value

        Returns
        -------
        Value
        """
        return self.call("fmuladd", self.constant(first, second.type), second, third)

    def magnitude(self, value: Value) -> Value:
        """Compute the absolute value of floats."""
        return self.call("fabs", value)

    def total(self, value: Value) -> Value:
        """Sum the lanes of an integer."""
        return self.call("vector.reduce.add", value, result=_element_of(value.type))

    def convert(self, value: Value, word: str, element: str) -> Value:
        """Convert between types, lane by lane, with an instruction of LLVM such as ``zext`` or ``uitofp``.

        Parameters
        ----------
        value : Value
        word : str
        element : str
            The type of a number of the result.

        Returns
        -------
        Value
        """
        count = _count_of(value.type)
        type_ = lanes(count, element) if value.type.startswith("<") else element
        return self.emit(type_, f"{word} {value.type} {value.name} to {type_}")

    def reinterpret(self, value: Value, type_: str) -> Value:
        """Read the same bits as another type.

        Parameters
        ----------
        value : Value
        type_ : str

        Returns
        -------
        Value
        """
        return self.emit(type_, f"bitcast {value.type} {value.name} to {type_}")

    def shuffle(self, first: Value, second: Value, order: Sequence[int]) -> Value:
        """Pick lanes of two values, which count as one behind the other.

        Parameters
        ----------
        first, second : Value
            Of one type.
        order : sequence of int
            For each lane of the result, a lane of both.

        Returns
        -------
        Value
        """
        listed = ", ".join(f"i32 {lane}" for lane in order)
        return self.emit(
            lanes(len(order), _element_of(first.type)),
            f"shufflevector {first.type} {first.name}, {second.type} {second.name}, <{len(order)} x i32> <{listed}>",
        )

    def spread(self, value: Value, count: int) -> Value:
        """Repeat a number in all lanes.

        Parameters
        ----------
        value : Value
        count : int

        Returns
        -------
        Value
        """
        type_ = lanes(count, value.type)
        one = self.emit(type_, f"insertelement {type_} poison, {value.type} {value.name}, i32 0")
        return self.shuffle(one, one, [0] * count)

    def at(self, address: Value, index: Operand, element: str) -> Value:
        """Compute the address of an element of an array; the index is an ``i64``.

        Parameters
        ----------
        address : Value
        index : Value or int
        element : str
            Type of the elements.

        Returns
        -------
        Value
        """
        place = self.constant(index, "i64")
        return self.emit("ptr", f"getelementptr inbounds {element}, ptr {address.name}, i64 {place.name}")

    def load(self, type_: str, address: Value, index: Operand = 0) -> Value:
        """Load an element of an array, or lanes that begin there.

        Parameters
        ----------
        type_ : str
        address : Value
            Of the array.
        index : Value or int

        Returns
        -------
        Value
        """
        place = self.at(address, index, _element_of(type_))
        return self.emit(type_, f"load {type_}, ptr {place.name}, align {_SIZES[_element_of(type_)]}")

    def load_unaligned(self, type_: str, address: Value) -> Value:
        """Load from any address.

        Parameters
        ----------
        type_ : str
        address : Value

        Returns
        -------
        Value
        """
        return self.emit(type_, f"load {type_}, ptr {address.name}, align 1")

    def store(self, value: Value, address: Value, index: Operand = 0) -> None:
        """Store an element of an array, or lanes that begin there.

        Parameters
        ----------
        value : Value
        address : Value
            Of the array.
        index : Value or int
        """
        element = _element_of(value.type)
        place = self.at(address, index, element)
        self._lines.append(f"  store {value.type} {value.name}, ptr {place.name}, align {_SIZES[element]}")

    def store_unaligned(self, value: Value, address: Value) -> None:
        """Store to any address.

        Parameters
        ----------
        value, address : Value
        """
        self._lines.append(f"  store {value.type} {value.name}, ptr {address.name}, align 1")

    def reserve(self, count: int, element: str) -> Value:
        """Reserve memory for an array, for as long as the function runs.

        Parameters
        ----------
        count : int
        element : str

        Returns
        -------
        Value
            Its address.
        """
        name = self._new_name("array")
        self._entry.append(f"  {name} = alloca [{count} x {element}], align 64")
        return Value(self, "ptr", name)

    def variable(self, value: Value) -> Variable:
        """Make a variable, which starts with a value."""
        name = self._new_name("variable")
        self._entry.append(f"  {name} = alloca {value.type}")
        made = Variable(Value(self, "ptr", name), value.type)
        made.set(value)
        return made

    @contextmanager
    def loop(self, start: Operand, stop: Operand, step: int = 1) -> Iterator[Value]:
        """Repeat the lines inside for each index (``i64``) from `start` to before `stop`.

        Parameters
        ----------
        start, stop : Value or int
        step : int

        Yields
        ------
        Value
            The index.
        """
        first, last = self.constant(start, "i64"), self.constant(stop, "i64")
        head, body, after = self._new_labels("head", "body", "after")
        before = self._block
        index, following = self._new_name("i"), self._new_name("next")
        self._jump(head)
        self._begin(head)
        place = len(self._lines)
        self._lines.append("")  # the index, once it is known where its next value comes from
        inside = self.compare(Value(self, "i64", index), "slt", last)
        self._branch(inside, body, after)
        self._begin(body)
        yield Value(self, "i64", index)
        self._lines.append(f"  {following} = add nsw i64 {index}, {step}")
        self._lines[place] = f"  {index} = phi i64 [{first.name}, %{before}], [{following}, %{self._block}]"
        self._jump(head)
        self._begin(after)

    @contextmanager
    def repeat_while(self) -> Iterator[Repetition]:
        """Repeat the lines inside until ``Repetition.check`` finds its condition broken."""
        head, after = self._new_labels("head", "after")
        self._jump(head)
        self._begin(head)
        yield Repetition(self, after)
        self._jump(head)
        self._begin(after)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Run the lines inside only if a condition holds."""
        body, after = self._new_labels("then", "after")
        self._branch(condition, body, after)
        self._begin(body)
        yield
        self._jump(after)
        self._begin(after)

    def invoke(self, function: Code, *operands: Value) -> None:
        """Call another function of the same text.

        Parameters
        ----------
        function : Code
        *operands : Value
        """
        listed = ", ".join(f"{operand.type} {operand.name}" for operand in operands)
        self._lines.append(f"  call void @{function.name}({listed})")

    def write(self) -> tuple[str, dict[str, str]]:
        """Write the function; -> its text, and the declarations that it needs by name."""
        listed = ", ".join(
            f"{type_}{' noalias' if type_ == 'ptr' else ''} %{name}" for name, type_ in self._arguments.items()
        )
        head = (
            f"define {'' if self._is_shared else 'internal '}void @{self.name}({listed}) #{0 if self._is_shared else 1}"
        )
        lines = [f"{head} {{", "entry:", *self._entry, "  br label %start", "start:", *self._lines, "  ret void", "}"]
        return "\n".join(lines), self._intrinsics

    def leave(self, condition: Value, label: str) -> None:
        """Go on at a label unless a condition holds; see `Repetition`.

        Parameters
        ----------
        condition : Value
        label : str
        """
        (body,) = self._new_labels("go")
        self._branch(condition, body, label)
        self._begin(body)

    def _new_name(self, word: str) -> str:
        self._n_names += 1
        return f"%{word}.{self._n_names}"

    def _new_labels(self, *words: str) -> list[str]:
        return [self._new_name(word)[1:] for word in words]

    def _jump(self, label: str) -> None:
        self._lines.append(f"  br label %{label}")

    def _branch(self, condition: Value, yes: str, no: str) -> None:
        self._lines.append(f"  br i1 {condition.name}, label %{yes}, label %{no}")

    def _begin(self, label: str) -> None:
        self._lines.append(f"{label}:")
        self._block = label


@dataclass(frozen=True)
class Variable:
    """A place for a value that changes."""

    place: Value
    type: str

    def get(self) -> Value:
        """Read it."""
        return self.place.code.load_unaligned(self.type, self.place)

    def set(self, value: Operand) -> None:
        """Change it."""
        self.place.code.store_unaligned(self.place.code.constant(value, self.type), self.place)


@dataclass(frozen=True)
class Repetition:
    """What repeats; see `Code.repeat_while`."""

    code: Code
    after: str

    def check(self, condition: Value) -> None:
        """End the repetition here unless a condition holds."""
        self.code.leave(condition, self.after)


def join_functions(functions: Sequence[Code]) -> str:
    """Write a module of functions, in LLVM's language."""
    texts, declared = [], {}
    for function in functions:
        text, intrinsics = function.write()
        texts.append(text)
        declared.update(intrinsics)
    wide = 'nounwind "prefer-vector-width"="512" "min-legal-vector-width"="512"'
    attributes = [f"attributes #0 = {{ {wide} }}", f"attributes #1 = {{ noinline {wide} }}"]
    return "\n\n".join([*texts, "\n".join(sorted(declared.values())), "\n".join(attributes)]) + "\n"


def _truth_of(type_: str) -> str:
    return lanes(_count_of(type_), "i1") if type_.startswith("<") else "i1"


def _mangle(type_: str) -> str:
    """Name a type as in the names of overloaded intrinsics."""
    element = {"float": "f32", "double": "f64"}.get(_element_of(type_), _element_of(type_))
    return f"v{_count_of(type_)}{element}" if type_.startswith("<") else element
