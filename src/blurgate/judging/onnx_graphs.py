"""Checks the graph of a net before ONNX Runtime sees it.

A net may come from a stranger. ONNX can name other files to read, loop, call functions and ask for any amount of
memory, so a net may use only what the nets of blurgate use. The base install has no library that reads ONNX files:
this module reads the few messages of Protocol Buffers that such a net consists of, and refuses every other field.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import name_first
from blurgate.judging.inputs import NET_OUTPUTS

OPSET = 17  # version of the operators
MOST_NODES = 1_000  # the largest net of blurgate has 259
MOST_WORK = 2**20  # multiplications for each place of a photo; the largest net of blurgate has 323,000
_MOST_IN_A_LIST = 64  # a kernel's side, a stride, a pad
_MOST_NUMBER = 4096  # channels in a group
_MOST_SHAPE = 64  # elements of what is computed from shapes

_FLOAT, _INT64 = 1, 7  # data types
_VARINT, _BYTES, _FIXED32 = 0, 2, 5  # how a field is stored
_ONCE, _RANK, _ATTRIBUTES, _SOME = 1, 8, 16, 64  # how often a field may be there

_Fields = Mapping[int, tuple[str, int | None, int]]
_Message = dict[str, Any]


Outputs: TypeAlias = Mapping[str, Sequence[int | None]]  # name -> shape, where None stands for any size
NET_ENDS: Outputs = {"answers": (1, len(NET_OUTPUTS)), "map": (1, None, None)}


def check_graph(onnx: bytes, outputs: Outputs = NET_ENDS) -> None:
    """Check that a net has the inputs, outputs and operators of blurgate's nets, and that running it costs little.

    Parameters
    ----------
    onnx : bytes
        Content of the ONNX file.
    outputs : mapping of str to sequence of int or None
        Name of each output, in order, and its shape; None stands for any size.

    Raises
    ------
    ValueError
        If it is damaged, has another input or other outputs, external data, subgraphs, functions, operators that are
        not in `OPERATORS`, weights that are not finite, or more nodes or weights than `MOST_NODES` and `MOST_WORK`
        allow.

    References
    ----------
    .. [1] ONNX, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
    .. [2] Protocol Buffers, https://protobuf.dev/programming-guides/encoding
    """
    try:
        graph = _read_graph(memoryview(onnx))
        sizes = {_to_text(tensor["name"]): _count_elements(tensor) for tensor in graph["initializer"]}
        _check_ends(graph, sizes, outputs)
        nodes = [_read_node(content) for content in graph["node"]]
        _check_nodes(nodes, sizes)
        _check_scales(nodes, graph["initializer"])
    except (KeyError, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no ONNX file ({type(error).__name__}: {error})") from error


def list_operators(onnx: bytes) -> set[str]:
    """List the operators of a net, by name.

    Raises
    ------
    ValueError
        If it is damaged or has a field that no net of blurgate has.
    """
    return {_read_node(content).operator for content in _read_graph(memoryview(onnx))["node"]}


class _Node(NamedTuple):
    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, _Message]


def _read_graph(onnx: memoryview) -> _Message:
    model = _read(onnx, _MODEL)
    versions = [_read(each, _VERSION) for each in model["opset_import"]]
    if [(_to_text(each.get("domain", b"")), each["version"]) for each in versions] != [("", OPSET)]:
        raise ValueError(f"it must use the operators of ONNX, version {OPSET}")
    graph = _read(model["graph"], _GRAPH)
    graph["initializer"] = [_read(tensor, _TENSOR) for tensor in graph["initializer"]]
    return graph


def _read_node(content: memoryview) -> _Node:
    node = _read(content, _NODE)
    operator, domain = _to_text(node["op_type"]), _to_text(node.get("domain", b""))
    read = [_read(each, _ATTRIBUTE) for each in node["attribute"]]
    attributes = {_to_text(each["name"]): each for each in read}
    if domain:
        raise ValueError(f"it has an operator of the domain {domain!a}")
    if len(attributes) < len(read):
        raise ValueError(f"{operator} has two attributes of one name")
    return _Node(
        operator,
        [_to_text(name) for name in node["input"] if len(name)],
        [_to_text(name) for name in node["output"]],
        attributes,
    )


def _check_ends(graph: _Message, weights: Iterable[str], outputs: Outputs) -> None:
    """Check the names and shapes of inputs and outputs."""
    needed: list[Outputs] = [{"gray": (1, 1, None, None)}, outputs]
    for name, ends in zip(("input", "output"), needed, strict=True):
        given = {_to_text(end["name"]): _read_shape(end) for end in (_read(each, _VALUE) for each in graph[name])}
        if list(given) != list(ends) or len(graph[name]) != len(ends):
            raise ValueError(
                f"its {name} must be {' and '.join(ends)}, got {name_first([ascii(end) for end in given])}"
            )
        for end, shape in ends.items():
            if len(given[end]) != len(shape) or any(
                size not in (None, wanted) for size, wanted in zip(given[end], shape, strict=True)
            ):
                raise ValueError(f"its {name} {end} must be of shape {list(shape)}, got {given[end]}")
    if "gray" in weights:
        raise ValueError("it has weights in place of its input")


def _read_shape(end: _Message) -> list[int | None]:
    tensor = _read(_read(end["type"], _TYPE)["tensor_type"], _TENSOR_TYPE)
    if tensor["elem_type"] != _FLOAT:
        raise ValueError("its inputs and outputs must be float32")
    return [_read(each, _DIMENSION).get("dim_value") for each in _read(tensor["shape"], _SHAPE)["dim"]]


def _check_nodes(nodes: list[_Node], weights: Mapping[str, int]) -> None:
    """Check each node, and add up the work; ``weights`` maps names to numbers of elements.

    What depends on weights and shapes alone is computed when the net is loaded, and could grow without end: of weights
    only copies are made, and what is computed from shapes stays short.
    """
    strange = sorted({node.operator for node in nodes} - OPERATORS)
    if strange:
        raise ValueError(f"no net of blurgate has the operator {name_first([ascii(name) for name in strange])}")
    sizes, known, work = dict(weights), {"gray", *weights}, 0
    for node in nodes:
        if not known.issuperset(node.inputs) or not known.isdisjoint(node.outputs):
            raise ValueError("its nodes are not in order")
        known.update(node.outputs)
        _check_attributes(node)
        work += _count_work(node, sizes)
        if node.operator in ("Constant", "Shape") or sizes.keys() >= set(node.inputs):
            sizes.update(dict.fromkeys(node.outputs, _count_fixed(node, sizes)))
    if work > MOST_WORK:
        raise ValueError(f"it multiplies {work:,} times for each place of a photo, more than {MOST_WORK:,}")


def _check_scales(nodes: Iterable[_Node], initializers: Iterable[_Message]) -> None:
    """Check that no plane becomes finer than the photo by fixed factors: each place of it would be computed again.

    A plane is as fine as the finest of those that it is computed from; strides make it coarser. One that is resized to
    the size of another counts as fine as the photo.
    """
    fixed = {_to_text(tensor["name"]): _find_values(tensor) for tensor in initializers}
    finer, shapes = {"gray": 1.0}, set[str]()
    for node in nodes:
        if node.operator == "Constant":
            fixed[node.outputs[0]] = _find_values(_read(node.attributes["value"]["t"], _TENSOR))
        if node.operator == "Shape" or (node.operator in ON_SHAPES and not shapes.isdisjoint(node.inputs)):
            shapes.update(node.outputs)
            continue
        factor = 1.0
        if node.operator == "Resize" and node.inputs[-1] in shapes:
            finer.update(dict.fromkeys(node.outputs, 1.0))
            continue
        if node.operator == "Resize":
            factor = max(fixed.get(node.inputs[-1], []), default=math.inf)
        strides = node.attributes.get("strides")
        if strides:
            factor /= max(1, min(map(_signed, strides["ints"]), default=1))
        scale = factor * max((finer[name] for name in node.inputs if name in finer), default=0.0)
        if scale > 1:
            raise ValueError("it enlarges a plane beyond the photo")
        finer.update(dict.fromkeys(node.outputs, scale))


def _find_values(tensor: _Message) -> list[float]:
    """Decode a short tensor of numbers; nothing of a longer one."""
    given = [name for name in _STORED if name in tensor]
    if tensor["data_type"] != _FLOAT or not given or math.prod(tensor["dims"]) > _RANK:
        return []
    return [float(value) for value in _decode(_FLOAT, given[0], tensor[given[0]])]


def _check_attributes(node: _Node) -> None:
    tensors = [name for name, attribute in node.attributes.items() if "t" in attribute]
    if tensors != (["value"] if node.operator == "Constant" else []):
        raise ValueError("Constant and no other operator must have a tensor, its value")
    for name, attribute in node.attributes.items():
        listed = [_signed(number) for number in attribute["ints"]]
        if max(map(abs, listed), default=0) > _MOST_IN_A_LIST or abs(_signed(attribute.get("i", 0))) > _MOST_NUMBER:
            raise ValueError(f"{name} of {node.operator} is too large")


def _count_work(node: _Node, sizes: Mapping[str, int]) -> int:
    """Count the multiplications for each place that a node computes."""
    if node.operator in ("Conv", "Gemm"):
        if len(node.inputs) < 2 or node.inputs[1] not in sizes:
            raise ValueError(f"the weights of {node.operator} must be stored in the file")
        return sizes[node.inputs[1]]
    return math.prod(node.attributes["kernel_shape"]["ints"]) if "kernel_shape" in node.attributes else 1


def _count_fixed(node: _Node, sizes: Mapping[str, int]) -> int:
    """Count at most how many elements a node computes from weights and shapes alone."""
    inputs = [sizes.get(name, 0) for name in node.inputs]
    if node.operator == "Constant":
        return _count_elements(_read(node.attributes["value"]["t"], _TENSOR))
    if node.operator == "Identity":
        return inputs[0]
    if node.operator == "Shape":
        return _RANK
    count = sum(inputs) if node.operator == "Concat" else math.prod(inputs)
    if node.operator not in ON_SHAPES or count > _MOST_SHAPE:
        raise ValueError(f"it computes {node.operator} of what is in the file alone")
    return count


def _count_elements(tensor: _Message) -> int:
    """Count the elements of a tensor, after checking that all of them are there and finite."""
    given = [name for name in _STORED if name in tensor]
    count = math.prod(tensor["dims"])
    if tensor["data_type"] not in (_FLOAT, _INT64) or len(given) > 1:
        raise ValueError("a tensor is neither of float32 nor of int64, or is stored in two ways")
    values = _decode(tensor["data_type"], given[0], tensor[given[0]]) if given else np.empty(0)
    if len(values) != count:
        raise ValueError(f"a tensor of {count} elements has {len(values)}")
    if not np.isfinite(values).all():
        raise ValueError("a weight is not finite")
    return count


def _decode(data_type: int, stored: str, content: memoryview) -> NDArray[Any]:
    if stored == "int64_data" and data_type == _INT64:
        return np.flatnonzero(np.frombuffer(content, np.uint8) < 128)  # the last byte of each number: how many they are
    if stored == "raw_data" or (stored == "float_data" and data_type == _FLOAT):
        return np.frombuffer(content, "<f4" if data_type == _FLOAT else "<i8")
    raise ValueError("a tensor is stored as another type than it has")


def _read(content: memoryview, fields: _Fields) -> _Message:
    """Read a message: -> its fields by name; those that can repeat as lists."""
    message: _Message = {name: [] for name, _, most in fields.values() if most > _ONCE}
    for number, stored, value in _split(content):
        name, expected, most = fields.get(number) or (f"field {number}", None, _ONCE)
        if stored != expected:
            raise ValueError(f"it has {name}, which no net of blurgate has")
        if most > _ONCE and len(message[name]) < most:
            message[name].append(value)
        elif most > _ONCE or name in message:
            raise ValueError(f"it has {name} more than {most} times")
        else:
            message[name] = value
    return message


def _split(content: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Split a message into its fields: -> number, how it is stored, value."""
    position, end = 0, len(content)
    while position < end:
        key, position = _read_varint(content, position)
        stored = key & 7
        value: int | memoryview
        if stored == _VARINT:
            value, position = _read_varint(content, position)
        elif stored in (_BYTES, _FIXED32):
            length, position = _read_varint(content, position) if stored == _BYTES else (4, position)
            if length > end - position:
                raise ValueError("it is truncated")
            value, position = content[position : position + length], position + length
        else:
            raise ValueError("it has numbers that no net of blurgate has")
        yield key >> 3, stored, value


def _read_varint(content: memoryview, position: int) -> tuple[int, int]:
    """Read a number of up to 64 bits: -> the number, where the next field starts."""
    value = content[position]
    if value < 128:  # most have one byte
        return value, position + 1
    value = 0
    for shift in range(0, 70, 7):
        byte = content[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("a number has more than 64 bits")


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def _to_text(content: memoryview | bytes) -> str:
    return bytes(content).decode()


# Fields by number: name, how it is stored, how often it may be there. None: it is refused by name.
_MODEL: _Fields = {
    1: ("ir_version", _VARINT, _ONCE),
    2: ("producer_name", _BYTES, _ONCE),
    3: ("producer_version", _BYTES, _ONCE),
    7: ("graph", _BYTES, _ONCE),
    8: ("opset_import", _BYTES, _SOME),
    25: ("functions", None, _ONCE),
}
_VERSION: _Fields = {1: ("domain", _BYTES, _ONCE), 2: ("version", _VARINT, _ONCE)}
_GRAPH: _Fields = {
    1: ("node", _BYTES, MOST_NODES),
    2: ("name", _BYTES, _ONCE),
    5: ("initializer", _BYTES, MOST_NODES),
    11: ("input", _BYTES, _SOME),
    12: ("output", _BYTES, _SOME),
    15: ("sparse weights", None, _ONCE),
}
_NODE: _Fields = {
    1: ("input", _BYTES, _SOME),
    2: ("output", _BYTES, _SOME),
    3: ("name", _BYTES, _ONCE),
    4: ("op_type", _BYTES, _ONCE),
    5: ("attribute", _BYTES, _ATTRIBUTES),
    7: ("domain", _BYTES, _ONCE),
}
_ATTRIBUTE: _Fields = {
    1: ("name", _BYTES, _ONCE),
    2: ("f", _FIXED32, _ONCE),
    3: ("i", _VARINT, _ONCE),
    4: ("s", _BYTES, _ONCE),
    5: ("t", _BYTES, _ONCE),
    6: ("a subgraph", None, _ONCE),
    8: ("ints", _VARINT, _SOME),
    11: ("subgraphs", None, _ONCE),
    20: ("type", _VARINT, _ONCE),
    22: ("sparse weights", None, _ONCE),
}
_TENSOR: _Fields = {
    1: ("dims", _VARINT, _RANK),
    2: ("data_type", _VARINT, _ONCE),
    4: ("float_data", _BYTES, _ONCE),
    7: ("int64_data", _BYTES, _ONCE),
    8: ("name", _BYTES, _ONCE),
    9: ("raw_data", _BYTES, _ONCE),
    13: ("weights in another file", None, _ONCE),
    14: ("weights in another file", None, _ONCE),
}
_STORED = ("raw_data", "float_data", "int64_data")
_VALUE: _Fields = {1: ("name", _BYTES, _ONCE), 2: ("type", _BYTES, _ONCE)}
_TYPE: _Fields = {1: ("tensor_type", _BYTES, _ONCE)}
_TENSOR_TYPE: _Fields = {1: ("elem_type", _VARINT, _ONCE), 2: ("shape", _BYTES, _ONCE)}
_SHAPE: _Fields = {1: ("dim", _BYTES, _RANK)}
_DIMENSION: _Fields = {1: ("dim_value", _VARINT, _ONCE), 2: ("dim_param", _BYTES, _ONCE)}

# What blurgate's nets use: the shipped ones, and every kind in models/net_kinds.py
ON_SHAPES = {"Cast", "Concat", "Gather", "Mul", "Reshape", "Slice", "Squeeze", "Unsqueeze"}
OPERATORS = ON_SHAPES | {
    *("Abs", "Add", "AveragePool", "BatchNormalization", "Constant", "Conv", "Div", "Erf", "Gemm", "Identity"),
    *("LayerNormalization", "Log", "MaxPool", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceSum", "Relu"),
    *("Resize", "Shape", "Softmax", "Sqrt", "Sub", "Transpose"),
}
