"""Model files that a stranger might send, each with the error that it must get, and mutations of intact ones.

To add a hostile model, write one function that turns the members of an intact model into its file, and one line in the
table at the end.
"""

import copy
import io
import json
import os
import socket
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from blurgate.judging.explainers import Explainer
from blurgate.judging.inputs import find_inputs
from blurgate.judging.model import load_model
from blurgate.judging.nets import Net
from blurgate.measuring.features import FEATURE_SETS

COLUMNS = FEATURE_SETS["block99"].columns
MIB = 2**20


@dataclass(frozen=True)
class Hostile:
    """One hostile model.

    Parameters
    ----------
    make : callable
        Takes the path of the file to make; raises OSError, AttributeError or ImportError if this system cannot.
    pattern : str
        Regular expression that the error must match.
    """

    make: Callable
    pattern: str


def pack(members, method=zipfile.ZIP_DEFLATED):
    """Zip members: -> bytes of a model file."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def encode(value):
    """Encode a value as UBJSON, as XGBoost does; an array of NumPy is typed, and bytes are UBJSON already."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, np.ndarray):
        marker, code = {"f": (b"d", ">f4"), "i": (b"l", ">i4"), "u": (b"U", "u1")}[value.dtype.kind]
        return b"[$" + marker + b"#L" + struct.pack(">q", len(value)) + value.astype(code).tobytes()
    if isinstance(value, dict):
        return b"{" + b"".join(encode(name)[1:] + encode(entry) for name, entry in value.items()) + b"}"
    if isinstance(value, list):
        return b"[#L" + struct.pack(">q", len(value)) + b"".join(map(encode, value))
    if isinstance(value, str):
        return b"SL" + struct.pack(">q", len(value.encode())) + value.encode()
    return b"L" + struct.pack(">q", value)


def make_tree(rng, levels=3):
    """Make a full tree, whose splits are drawn at random."""
    n_splits = 2**levels - 1
    n_nodes = 2 * n_splits + 1
    node = np.arange(n_nodes, dtype=np.int32)
    is_leaf = node >= n_splits
    return {
        "tree_param": {"num_nodes": str(n_nodes), "num_deleted": "0", "num_feature": "99", "size_leaf_vector": "1"},
        "left_children": np.where(is_leaf, -1, 2 * node + 1).astype(np.int32),
        "right_children": np.where(is_leaf, -1, 2 * node + 2).astype(np.int32),
        "split_indices": np.where(is_leaf, 0, rng.integers(0, len(COLUMNS), n_nodes)).astype(np.int32),
        "split_conditions": rng.normal(0, 2, n_nodes).astype(np.float32),
        "default_left": np.zeros(n_nodes, np.uint8),
        "split_type": np.zeros(n_nodes, np.uint8),
    }


def make_booster(objective="binary:logistic", n_outputs=1, n_trees=6):
    """Make the content of a booster, ready for `encode`."""
    rng = np.random.default_rng(n_trees)
    return {
        "learner": {
            "gradient_booster": {
                "model": {
                    "tree_info": [tree % n_outputs for tree in range(n_trees)],
                    "trees": [make_tree(rng) for _ in range(n_trees)],
                },
                "name": "gbtree",
            },
            "learner_model_param": {
                "base_score": "[5E-1]" if n_outputs == 1 else json.dumps([0.5] * n_outputs),
                "num_class": str(n_outputs if n_outputs > 1 else 0),
                "num_feature": str(len(COLUMNS)),
            },
            "objective": {"name": objective},
        },
        "version": [3, 2, 0],
    }


def make_trees():
    """Make the members of a small model of trees."""
    card = {
        "format": 1,
        "boosters": ["blurred", "kind", "strength"],
        "feature_set": "block99",
        "columns": COLUMNS,
        "slope": 1.0,
        "intercept": 0.1,
        "threshold": 0.5,
        "base_rate": 0.5,
        "review": [0.2, 0.8],
        "kinds": ["defocus", "gaussian", "motion"],
        "results": {"roc_auc": 0.9},
        "limits": ["none known"],
    }
    return {
        "card.json": json.dumps(card).encode(),
        "blurred.ubj": encode(make_booster()),
        "kind.ubj": encode(make_booster("multi:softprob", 3)),
        "strength.ubj": encode(make_booster("reg:squarederror")),
    }


def make_shipped(name):
    """Read the members of a shipped model, as it is when it is saved again."""
    model = load_model(name)
    members = {f"{booster}.ubj": each for booster, each in model.boosters.items()}
    card = {"format": 1, **vars(model.card)}
    parts = {"net.onnx": model.net, "explainer.onnx": model.explainer}
    members.update((member, part.onnx) for member, part in parts.items() if part)
    return {"card.json": json.dumps(card).encode(), **members}


def with_net(members, onnx):
    """Replace the net, and name the new one in the card: the name is the hash of its content."""
    card, name = json.loads(members["card.json"]), Net(onnx).name
    card["feature_set"] = f"{card['feature_set'].partition('+')[0]}+{name}"
    card["columns"] = find_inputs(card["feature_set"]).columns
    return {**members, "card.json": json.dumps(card).encode(), "net.onnx": onnx}


# Mutations


def mutate(seeds, number, *, seed):
    """Make a mutation of an intact model.

    Parameters
    ----------
    seeds : list of dict
        Members of intact models.
    number : int
        Which mutation.
    seed : int

    Returns
    -------
    bytes
    """
    rng = np.random.default_rng((seed, number))
    members = seeds[number % len(seeds)]
    target = str(rng.choice(["zip", "card", *members]))
    method = (
        zipfile.ZIP_STORED if rng.random() < 0.5 or len(members.get("blurred.ubj", b"")) > MIB else zipfile.ZIP_DEFLATED
    )
    if target == "zip":
        return damage(pack(members, method), rng)
    if target == "card":
        changed = exchange(json.loads(members["card.json"]), rng)
        return pack({**members, "card.json": json.dumps(changed).encode()}, method)
    damaged = damage(members[target], rng)
    return pack(with_net(members, damaged) if target == "net.onnx" else {**members, target: damaged}, method)


def damage(content, rng):
    """Change, cut, repeat or move some bytes."""
    content = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 1, 1, 2, 8]))):
        at, length = int(rng.integers(len(content) or 1)), int(rng.integers(1, 64))
        how = str(
            rng.choice(["bit", "byte", "extreme", "cut", "end", "repeat", "move"], p=[0.3, 0.2, 0.25, *[0.0625] * 4])
        )
        if how == "bit" and content:
            content[at] ^= 1 << int(rng.integers(8))
        elif how == "byte" and content:
            content[at] = int(rng.integers(256))
        elif how == "extreme":
            content[at : at + 8] = bytes.fromhex(str(rng.choice(EXTREMES)))
        elif how == "cut":
            del content[at : at + length]
        elif how == "end":
            del content[at:]
        elif how == "repeat":
            content[at:at] = content[at : at + length]
        elif how == "move":
            there = int(rng.integers(len(content) or 1))
            content[there : there + length] = content[at : at + length]
    return bytes(content)


def exchange(entries, rng):
    """Exchange some values of JSON, at any depth."""
    entries = json.loads(json.dumps(entries))
    for _ in range(int(rng.integers(1, 4))):
        place, inside = entries, True
        while inside and isinstance(place, dict | list) and place:
            key = rng.choice(sorted(place)) if isinstance(place, dict) else int(rng.integers(len(place)))
            key = str(key) if isinstance(place, dict) else key
            inside = isinstance(place[key], dict | list) and rng.random() < 0.7
            if not inside:
                place[key] = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])
            else:
                place = place[key]
    return entries


EXTREMES = (  # eight bytes each
    *("ffffffffffffffff", "7fffffffffffffff", "8000000000000000", "7fc000007fc00000", "7f8000007f800000"),
    *("0000000000000000", "ff7fffffff7fffff", "4c7fffffffffffff", "0100000000000000", "00007fc00000807f"),
)
VALUES = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1e308,
        -1e308,
        5e-324,
        float("nan"),
        float("inf"),
        10**30,
        2**63,
        "",
        "x",
        "\0\x1b[31m",
    ),
    *(
        [],
        {},
        [[]],
        {"x": {}},
        [float("nan")] * 3,
        ["trees"],
        {"trees": {"slope": 1}},
        "block99",
        "texture1+net-0",
        0.5,
    ),
)


# Files


def write(content):
    """Make a file of given bytes."""
    return lambda path: path.write_bytes(content() if callable(content) else content)


def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def link_to(target):
    return lambda path: path.symlink_to(target)


def make_sparse(path):
    with path.open("wb") as file:
        file.write(pack(make_trees()))
        file.truncate(10 * 2**30)


# Zips


def with_member(name, content):
    """Replace a member; the content can be a function of the intact one."""
    members = make_trees()
    return pack({**members, name: content(members[name]) if callable(content) else content})


def bomb(name, n_bytes, **headers):
    """Replace a member by very many zeros, and change what the headers of the zip say about it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    deflated = b"".join(packer.compress(bytes(MIB)) for _ in range(n_bytes // MIB)) + packer.flush()
    crc = 0
    for _ in range(n_bytes // MIB):
        crc = zlib.crc32(bytes(MIB), crc)
    return build_zip(
        {**dict.fromkeys(make_trees()), name: deflated}, **{"size": n_bytes, "crc": crc, "method": 8, **headers}
    )


def build_zip(members, *, size=0, crc=0, method=0, flags=0):
    """Write a zip by hand: a member that is None is that of the intact model, stored."""
    local, table = bytearray(), bytearray()
    intact = make_trees()
    for name, content in members.items():
        stored = intact[name] if content is None else content
        given = (flags, method, 0, crc, len(stored), size)
        if content is None:
            given = (0, 0, 0, zlib.crc32(stored), len(stored), len(stored))
        fields = struct.pack("<HHIIIIHH", *given, len(name), 0)
        table += b"PK\1\2" + struct.pack("<HH", 20, 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, len(local))
        table += name.encode()
        local += b"PK\3\4" + struct.pack("<H", 20) + fields + name.encode() + stored
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(table), len(local), 0)
    return bytes(local + table + b"PK\5\6" + end)


def repeat_member(name):
    content = io.BytesIO(pack(make_trees()))
    with zipfile.ZipFile(content, "a") as archive, warnings.catch_warnings(action="ignore"):  # of the repeated name
        archive.writestr(name, b"{}")
    return content.getvalue()


def list_many():
    """A table of half a million members."""
    end = struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 500_000 * 46, 0, 0)
    return (b"PK\1\2" + bytes(42)) * 500_000 + b"PK\5\6" + end


def point_elsewhere():
    """A zip whose end points to a table of the 64-bit kind."""
    content = pack(make_trees())
    return content[:-22] + b"PK\6\7" + struct.pack("<IQI", 0, 2**40, 1) + content[-22:]


def spoil_checksum():
    content = bytearray(pack(make_trees()))
    content[60] ^= 1
    return bytes(content)


# Cards


def with_card(**values):
    return with_member("card.json", lambda card: json.dumps(json.loads(card) | values).encode())


def with_text(old, new):
    return with_member("card.json", lambda card: card.replace(old.encode(), new.encode()))


def nest(levels):
    """A mapping whose entry holds a list in a list, and so on."""
    return '{"a": ' + "[" * levels + "]" * levels + "}"


def without(name):
    members = make_trees()
    return pack({each: content for each, content in members.items() if each != name})


# Boosters


def with_booster(change):
    """Replace the booster ``blurred`` by a changed one."""
    booster = make_booster()
    change(booster["learner"])
    return with_member("blurred.ubj", encode(booster))


def with_shape(**values):
    return with_booster(lambda learner: learner["learner_model_param"].update(values))


def with_tree(**values):
    """Replace arrays of the first tree; a function gets the intact array."""

    def change(learner):
        tree = learner["gradient_booster"]["model"]["trees"][0]
        tree.update({name: value(tree[name].copy()) if callable(value) else value for name, value in values.items()})

    return with_booster(change)


def put(value, at=0):
    def change(array):
        array[at] = value
        return array

    return change


def make_chain(levels):
    """A tree in which each left child is a split: a walk through it takes as many steps as it has levels."""
    node = np.arange(2 * levels + 1, dtype=np.int32)
    is_split = (node % 2 == 0) & (node < 2 * levels)
    return {
        "tree_param": {"num_nodes": str(len(node))},
        "left_children": np.where(is_split, node + 2, -1).astype(np.int32),
        "right_children": np.where(is_split, node + 1, -1).astype(np.int32),
        "split_indices": np.zeros(len(node), np.int32),
        "split_conditions": np.zeros(len(node), np.float32),
        "default_left": np.zeros(len(node), np.uint8),
        "split_type": np.zeros(len(node), np.uint8),
    }


# Nets


def with_graph(change):
    """Make a model of a changed copy of the shipped net alone."""
    import onnx

    members = make_shipped("net")
    net = onnx.load_from_string(members["net.onnx"])
    change(net)
    return pack(with_net(members, net.SerializeToString()))


def with_explainer(change=bytes, **values):
    """Make a model of a changed copy of the shipped explainer and its card."""
    members = make_shipped("net")
    members["explainer.onnx"] = change(members["explainer.onnx"])
    values = {"explainer": {"spread": 2.0, "name": Explainer(members["explainer.onnx"]).name}} | values
    members["card.json"] = json.dumps(json.loads(members["card.json"]) | values).encode()
    return pack(members)


def enlarge_plane(content):
    """Double the photo before anything else."""
    import onnx

    model = onnx.load_from_string(content)
    graph = model.graph
    for node in graph.node:
        node.input[:] = ["large" if name == "gray" else name for name in node.input]
    graph.initializer.append(onnx.helper.make_tensor("twice", onnx.TensorProto.FLOAT, [4], [1.0, 1.0, 2.0, 2.0]))
    graph.node.insert(0, onnx.helper.make_node("Resize", ["gray", "", "twice"], ["large"], mode="nearest"))
    return model.SerializeToString()


def with_onnx(change):
    members = make_shipped("net")
    return pack(with_net(members, change(members["net.onnx"])))


def refer_outside(**where):
    """Let the first weights be read from a file, or from an address in memory."""

    def change(net):
        weights = net.graph.initializer[0]
        weights.ClearField("raw_data")
        weights.data_location = 1
        for key, value in where.items():
            entry = weights.external_data.add()
            entry.key, entry.value = key, value

    return with_graph(change)


def first(net, operator):
    return next(node for node in net.graph.node if node.op_type == operator)


def with_node(operator, *, inputs=("gray",), domain="", **attributes):
    """Add a node in front of all others."""

    def change(net):
        from onnx import helper

        net.graph.node.insert(0, helper.make_node(operator, list(inputs), ["added"], domain=domain, **attributes))

    return with_graph(change)


def with_loop():
    from onnx import helper

    return with_node("If", inputs=["gray"], then_branch=helper.make_graph([], "then", [], []))


def with_function():
    def change(net):
        from onnx import helper

        function = helper.make_function("ours", "Relu", ["x"], ["y"], [helper.make_node("Abs", ["x"], ["y"])], [])
        net.functions.append(function)

    return with_graph(change)


def with_tensor(**values):
    """Change the first weights."""

    def change(net):
        for name, value in values.items():
            if name == "dims":
                net.graph.initializer[0].dims[:] = value
            else:
                setattr(net.graph.initializer[0], name, value)

    return with_graph(change)


def with_sparse():
    return with_graph(lambda net: net.graph.sparse_initializer.add())


def answer_with(count):
    return with_graph(lambda net: setattr(net.graph.output[0].type.tensor_type.shape.dim[1], "dim_value", count))


def rename(net, old, new):
    for node in net.graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
    next(end for end in net.graph.output if end.name == old).name = new


def double(count, start, *, unit=None):
    """Concatenate a value with itself, again and again; the answers come from a corner of the last."""

    def change(net):
        from onnx import helper

        nodes, last = [] if unit is None else [unit(helper)], start
        for step in range(count):
            nodes.append(helper.make_node("Concat", [last, last], [f"more{step}"], axis=0))
            last = f"more{step}"
        for at, node in enumerate(nodes):
            net.graph.node.insert(at, node)
        if unit is None:  # so that it is needed
            nodes = [helper.make_node("ReduceMean", [last], ["mean"], axes=[0, 1, 2, 3], keepdims=0)]
            rename(net, "answers", "answered")
            next(end for end in net.graph.output if end.name == "answered").name = "answers"
            nodes.append(helper.make_node("Add", ["answered", "mean"], ["answers"]))
            net.graph.node.extend(nodes)

    return with_graph(change)


def shape_of_gray(helper):
    return helper.make_node("Shape", ["gray"], ["shape"])


def add_many(count):
    def change(net):
        from onnx import helper

        net.graph.node.extend(helper.make_node("Relu", ["gray"], [f"more{at}"]) for at in range(count))

    return with_graph(change)


def use_often(count):
    """Use the largest weights of the net, again and again."""

    def change(net):
        from onnx import helper

        largest = max(net.graph.initializer, key=lambda weights: np.prod(weights.dims))
        net.graph.node.extend(helper.make_node("Gemm", ["gray", largest.name], [f"more{at}"]) for at in range(count))

    return with_graph(change)


def fix_size(net):
    net.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 64


def enlarge_kernel(net):
    pool = first(net, "AveragePool")
    next(each for each in pool.attribute if each.name == "kernel_shape").ints[:] = [2**40, 2**40]


def swap_first_nodes(net):
    net.graph.node.append(net.graph.node[0])
    del net.graph.node[0]


NOT_ONE, CARD, BOOSTER, NET = (
    *("is not one or is damaged", "has a damaged card", "contains a damaged booster"),
    "contains a net that is damaged or unlike those of blurgate",
)
HOSTILE = {
    # the file
    "a pipe that nobody writes to": Hostile(make_pipe, "is a pipe, a socket or a device"),
    "a socket": Hostile(make_socket, "is a pipe, a socket or a device"),
    "a link to a device without end": Hostile(link_to("/dev/zero"), "is a pipe, a socket or a device"),
    "a link to a folder": Hostile(link_to("/"), "is a folder"),
    "a link to itself": Hostile(lambda path: path.symlink_to(path), NOT_ONE),
    "a sparse file of 10 GiB": Hostile(make_sparse, f"{NOT_ONE} .it has more than 64 MiB"),
    "an empty file": Hostile(write(b""), NOT_ONE),
    # the zip
    "a bomb as card": Hostile(write(lambda: bomb("card.json", 64 * MIB)), "card.json has more than 1 MiB"),
    "a bomb as booster": Hostile(write(lambda: bomb("kind.ubj", 80 * MIB)), "kind.ubj has more than 64 MiB"),
    "a bomb as net": Hostile(write(lambda: bomb("net.onnx", 64 * MIB)), "net.onnx has more than 16 MiB"),
    "a bomb that says it is small": Hostile(write(lambda: bomb("card.json", 64 * MIB, size=100)), NOT_ONE),
    "an encrypted member": Hostile(write(lambda: bomb("card.json", MIB, flags=1)), "card.json is encrypted"),
    "members packed with LZMA": Hostile(
        write(lambda: pack(make_trees(), zipfile.ZIP_LZMA)), "neither stored nor deflated"
    ),
    "members packed with bzip2": Hostile(
        write(lambda: pack(make_trees(), zipfile.ZIP_BZIP2)), "neither stored nor defl"
    ),
    "two cards": Hostile(write(lambda: repeat_member("card.json")), "two members of one name"),
    "a member outside the file": Hostile(
        write(lambda: pack({"../../evil": b""})), "no model has a member '../../evil'"
    ),
    "a null in a name": Hostile(write(lambda: build_zip({"card.json\0x": b"{}"})), r"no model has a member"),
    "half a million members": Hostile(write(list_many), "it lists 65535 members"),
    "a zip of the 64-bit kind": Hostile(write(point_elsewhere), "64-bit kind"),
    "a wrong checksum": Hostile(write(spoil_checksum), NOT_ONE),
    # the card
    "a card nested 100,000 deep": Hostile(write(lambda: with_member("card.json", nest(100_000))), CARD),
    "results nested 900 deep": Hostile(write(lambda: with_text('{"roc_auc": 0.9}', nest(900))), "nested too deeply"),
    "a number of 400 digits": Hostile(write(lambda: with_text("0.9", "9" * 400)), CARD),
    "a number of 5,000 digits": Hostile(write(lambda: with_text("0.9", "9" * 5_000)), CARD),
    "a slope of 400 digits": Hostile(write(lambda: with_card(slope=10**400)), CARD),
    "a slope of 1e300": Hostile(write(lambda: with_card(slope=1e300)), "slopes, .* must be within ±1,000,000"),
    "a threshold that is no number": Hostile(write(lambda: with_card(threshold=float("nan"))), CARD),
    "an unknown entry": Hostile(write(lambda: with_card(surprise=1)), "has an entry that no card has: 'surprise'"),
    "a card without slope": Hostile(write(lambda: with_text('"slope"', '"base_rate"')), "it lacks slope"),
    "colours in a kind": Hostile(write(lambda: with_card(kinds=["a", "b", "\x1b[31m"])), CARD),
    "half a character in a kind": Hostile(write(lambda: with_card(kinds=["a", "b", "\ud800"])), CARD),
    "limits that are no list": Hostile(write(lambda: with_card(limits=None)), "its limits must be a list"),
    "a card that is no text": Hostile(write(lambda: with_member("card.json", b"\xff\xfe\xfa")), "it is not JSON"),
    "a booster removed": Hostile(write(lambda: without("strength.ubj")), "but its card lists blurred, kind, strength"),
    # boosters
    "three billion outputs": Hostile(
        write(lambda: with_shape(num_class="3000000000")), "3000000000 outputs, but only 6"
    ),
    "three billion features": Hostile(write(lambda: with_shape(num_feature="3000000000")), "for 3000000000 features"),
    "a base score that is no number": Hostile(write(lambda: with_shape(base_score="[NaN]")), "its base score must be"),
    "a base score nested deep": Hostile(
        write(lambda: with_shape(base_score="[" * 10**5)), "its base score is too long"
    ),
    "three billion nodes": Hostile(write(lambda: with_tree(tree_param={"num_nodes": "3000000000"})), BOOSTER),
    "a child before the first": Hostile(write(lambda: with_tree(left_children=put(-(2**31)))), "outside their tree"),
    "a child beyond the last": Hostile(write(lambda: with_tree(right_children=put(2**31 - 1))), "outside their tree"),
    "a child in another tree": Hostile(write(lambda: with_tree(left_children=put(20))), "outside their tree"),
    "a node that is its own child": Hostile(write(lambda: with_tree(left_children=put(1, at=1))), "do not form trees"),
    "a tree of 100,000 levels": Hostile(write(lambda: with_tree(**make_chain(100_000))), "more than 64 levels"),
    "a leaf that is no number": Hostile(write(lambda: with_tree(split_conditions=put(np.nan, at=9))), "not finite"),
    "an endless split": Hostile(write(lambda: with_tree(split_conditions=put(np.inf))), "not finite"),
    "a leaf of 3e38": Hostile(write(lambda: with_tree(split_conditions=put(3e38, at=9))), "must stay within 1,000,000"),
    "an array of 2^62 elements": Hostile(
        write(lambda: with_tree(split_indices=b"[$l#L" + struct.pack(">q", 2**62))), "it is truncated"
    ),
    "a string of minus one": Hostile(write(lambda: with_tree(id=b"SL" + struct.pack(">q", -1))), "it is truncated"),
    "two million values": Hostile(
        write(lambda: with_tree(id=b"[#L" + struct.pack(">q", 2**21) + b"Z" * 2**21)), "too many values"
    ),
    "a booster nested deep": Hostile(write(lambda: with_tree(id=b"[#i\1" * 10**5)), "nested too deeply"),
    # nets
    "weights in /etc/passwd": Hostile(write(lambda: refer_outside(location="/etc/passwd")), "weights in another file"),
    "weights at an address": Hostile(
        write(lambda: refer_outside(location="*/_ORT_MEM_ADDR_/*", offset="4096", length="16384")),
        "weights in another file",
    ),
    "sparse weights": Hostile(write(with_sparse), "it has sparse weights"),
    "a branch": Hostile(write(with_loop), "it has a subgraph"),
    "a function": Hostile(write(with_function), "it has functions"),
    "an operator of another domain": Hostile(
        write(lambda: with_node("Relu", domain="com.microsoft")), "an operator of the domain 'com.microsoft'"
    ),
    "an operator that fills memory": Hostile(write(lambda: with_node("ConstantOfShape")), "operator 'ConstantOfShape'"),
    "another output": Hostile(
        write(lambda: with_graph(lambda net: rename(net, "map", "path"))), "its output must be answers and map"
    ),
    "one output": Hostile(write(lambda: with_graph(lambda net: net.graph.output.pop())), "its output must be answers"),
    "three answers": Hostile(write(lambda: answer_with(3)), r"its output answers must be of shape \[1, 2\]"),
    "a fixed size": Hostile(write(lambda: with_graph(fix_size)), "its input gray must be of shape"),
    "weights that are no numbers": Hostile(
        write(lambda: with_tensor(raw_data=np.full(4096, np.nan, np.float32).tobytes())), "not finite"
    ),
    "weights of 2^40 elements": Hostile(write(lambda: with_tensor(dims=[2**20, 2**20, 1, 1])), "elements has 4096"),
    "weights of minus one": Hostile(write(lambda: with_tensor(dims=[-1, 1, 8, 8])), "elements has 4096"),
    "shapes that double": Hostile(write(lambda: double(40, "shape", unit=shape_of_gray)), "it computes Concat of what"),
    "weights that double": Hostile(
        write(lambda: double(40, "head.say.2.bias", unit=shape_of_gray)), "it computes Conc"
    ),
    "a photo that doubles": Hostile(write(lambda: double(30, "gray")), "cannot run it .*[Mm]emory"),
    "a thousand nodes more": Hostile(write(lambda: add_many(1_000)), "it has node more than 1000 times"),
    "weights used a thousand times": Hostile(
        write(lambda: use_often(700)), "times for each place of a photo, more than"
    ),
    "an endless kernel": Hostile(write(lambda: with_graph(enlarge_kernel)), "kernel_shape of AveragePool is too large"),
    "nodes in disorder": Hostile(write(lambda: with_graph(swap_first_nodes)), "its nodes are not in order"),
    "two graphs": Hostile(write(lambda: with_onnx(lambda onnx: onnx + b"\x3a\0")), "it has graph more than 1 times"),
    "half an explainer": Hostile(
        write(lambda: with_explainer(lambda onnx: onnx[: len(onnx) // 2])), "an explainer that is damaged"
    ),
    "a net as explainer": Hostile(
        write(lambda: with_explainer(lambda _: make_shipped("net")["net.onnx"])), "output must be reading and map"
    ),
    "an explainer that enlarges a plane": Hostile(
        write(lambda: with_explainer(enlarge_plane)), "it enlarges a plane beyond the photo"
    ),
    "an explainer without its entry": Hostile(
        write(lambda: with_explainer(explainer={})), "its card does not describe"
    ),
    "an explainer of endless spread": Hostile(
        write(lambda: with_explainer(explainer={"spread": 1e300})), "a spread between 0 and 100"
    ),
    "half a net": Hostile(write(lambda: with_onnx(lambda onnx: onnx[: len(onnx) // 2])), NET),
    "a net that is none": Hostile(write(lambda: with_onnx(lambda _: b"\x08")), NET),
}
