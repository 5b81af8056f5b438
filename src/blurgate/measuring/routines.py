"""The routines of the compiled engine, as text for LLVM: the same steps as the reference, many blocks side by side.

`blurgate.measuring.machine_code` compiles them, `blurgate.measuring.kernel` calls them. 32 blocks in row-major
order make a group. All memory comes from the caller, so nothing is allocated, and nothing can fail.
"""

from __future__ import annotations

import math
from functools import reduce
from itertools import product, starmap

import numpy as np

from blurgate.measuring.blocks import BANDS, NOISE_FLOOR
from blurgate.measuring.edges import DIRECTIONS, EDGES, EQUAL_DIFFERENCES, FULL_CONTRAST, MIN_DIVISOR
from blurgate.measuring.lanes import Code, Value, join_functions, lanes

GROUP = 32  # blocks
N_BANDS = len(BANDS)
CLASSIC_STATISTICS = (
    "mean",
    "std",
    "skewness",
    "kurtosis",
    "entropy",
    "energy",
)  # in the order of `_finish_statistics`
EDGE_STATISTICS = list(product(DIRECTIONS, EDGES))  # in the order of `_compute_ratios`
N_VALUES = 256  # of an edge statistic
# Numbers from one histogram to the next: not a power of two, as the processor would then take the bins of a value in
# two histograms for one place in memory, and wait.
HISTOGRAM_STEP = N_VALUES + 16
# In the memory of `measure`: histograms, a running sum, then arrays of so many bytes for each block, then halved planes
ENERGIES_AT = (len(EDGE_STATISTICS) + 1) * HISTOGRAM_STEP * 8
BYTES_PER_BLOCK = N_BANDS * 4 + N_BANDS * 2 + 4
MARGIN = 256  # bytes after an array that a step over whole groups may touch
MAX_BLOCKS = 2**20  # of a plane, since counts of 16 bits for each lane may not overflow

_BAND_SIZE = len(BANDS["low"])
_C1, _C2, _C3, _C4, _C5, _C6, _C7 = (float(np.float32(math.cos(math.pi * k / 16) / 2)) for k in range(1, 8))
_TINY = 1e-18  # replaces zero divisors
# squared deviations below this fraction of the squared coefficients are rounding error: the coefficients are equal
_MIN_RELATIVE_SPREAD = 1e-11
_INVERSE_SIZE = 1 / _BAND_SIZE
# A quotient in `_compute_ratios` is an integer or at least 1/255 below the next; float32 is off by less than 1e-4.
_NUDGE = 1e-3
# The upper half of an energy's bits is its key. An energy is 0 or at least NOISE_FLOOR^2, so no key in use is below
# the least; infinity, which fills up the last group, has the key after the largest.
_LEAST_KEY = 0x3500
_LARGEST_KEY = 0x7F80 - _LEAST_KEY - 1
_INFINITY = 0x7F800000


def _fit_log2_polynomial(degree: int = 6) -> list[float]:
    """Fit a polynomial in t to log2(1 + t) / t on [0, 1], at Chebyshev points; the error is about 1e-6."""
    t = (1 - np.cos((np.arange(48) + 0.5) * np.pi / 48)) / 2
    return [float(np.float32(a)) for a in np.polynomial.polynomial.polyfit(t, np.log2(1 + t) / t, degree)]


def write_module(width: int, n_walks: int) -> str:
    """Write all routines.

    Parameters
    ----------
    width : int
        How many floats of float32 are computed side by side, a divisor of `GROUP`: as many as a register of the
        processor holds. Results do not depend on it.
    n_walks : int
        How many trees a row walks side by side, to hide how long memory takes.

    Returns
    -------
    str
        In LLVM's language.
    """
    select, halve = _write_select(), _write_halve()
    plane = _write_measure_plane(select, width)
    return join_functions(
        [select, halve, plane, _write_measure(plane, halve), _write_sum_statistics(width), _write_walk_trees(n_walks)]
    )


def _write_measure(plane: Code, halve: Code) -> Code:
    """Write ``measure``: all scales of a photo whose bits are set in `scales`, the photo itself in the lowest.

    Each percent of `percents` (ascending) gives for each scale and band the two energies that the percentile lies
    between, and the fraction of the way to the second: three arrays in `between`. Each of `shares` gives for each scale
    and edge statistic a weighted percentile, in `edges`.
    """
    code = Code(
        "measure",
        {
            "gray": "ptr",
            "height": "i64",
            "width": "i64",
            "stride": "i64",
            "scales": "i64",
            "percents": "ptr",
            "n_percents": "i64",
            "shares": "ptr",
            "n_shares": "i64",
            "work": "ptr",
            "between": "ptr",
            "edges": "ptr",
        },
    )
    take = code.argument
    height, width, scales, work = take("height"), take("width"), take("scales"), take("work")
    room = _count_groups(height, width) * GROUP
    halved = code.at(work, room * BYTES_PER_BLOCK + (ENERGIES_AT + MARGIN), "i8")
    gray, stride = take("gray"), take("stride")
    for scale in range(3):
        with code.when(code.compare((scales >> scale) & 1, "ne", 0)):
            columns = take("n_percents") * (N_BANDS * scale)
            rows = take("n_shares") * (len(EDGE_STATISTICS) * scale)
            code.invoke(
                plane,
                *(gray, height, width, stride, room, work),
                *(take("percents"), take("n_percents"), take("shares"), take("n_shares")),
                *(code.at(take("between"), columns, "float"), code.at(take("edges"), rows, "float")),
            )
        if scale == 2:
            return code
        with code.when(code.compare(scales >> (scale + 1), "ne", 0)):
            code.invoke(halve, gray, height, width, stride, halved)
        gray, height, width, stride = halved, height >> 1, width >> 1, width >> 1
        halved = code.at(halved, height * width + MARGIN, "i8")
    raise AssertionError


def _write_measure_plane(select: Code, width: int) -> Code:
    """Write ``measure_plane``: one scale, into places of the arrays of ``measure`` (and `room` for so many blocks)."""
    code = Code(
        "measure_plane",
        {
            "gray": "ptr",
            "height": "i64",
            "width": "i64",
            "stride": "i64",
            "room": "i64",
            "work": "ptr",
            "percents": "ptr",
            "n_percents": "i64",
            "shares": "ptr",
            "n_shares": "i64",
            "between": "ptr",
            "edges": "ptr",
        },
        is_shared=False,
    )
    take = code.argument
    histograms, room = take("work"), take("room")
    energies = code.at(histograms, ENERGIES_AT, "i8")
    keys = code.at(energies, room * (4 * N_BANDS), "i8")
    listed = code.at(keys, room * (2 * N_BANDS), "i8")
    n_groups = _count_groups(take("height"), take("width"))
    n_blocks = (take("height") >> 3) * (take("width") >> 3)
    padded = n_groups * GROUP
    with code.loop(0, len(EDGE_STATISTICS) * HISTOGRAM_STEP, 8) as i:
        code.store(code.constant(0, lanes(8, "i64")), histograms, i)
    pixels = code.reserve(64 * GROUP, "i8")
    ratios = code.reserve(len(EDGE_STATISTICS) * GROUP, "i8")
    contrasts = code.reserve(GROUP, "i8")
    spare = code.reserve(64 * GROUP, "i8")
    with code.loop(0, n_groups) as group:
        first = group * GROUP
        count = code.smaller(n_blocks - first, GROUP)
        _load_blocks(code, first, count, pixels, spare)
        with code.loop(0, GROUP, width) as lane:
            inside = _mark_blocks(code, lane, count, width)
            for band, energy in enumerate(_sum_squares(code, _transform_blocks(code, pixels, lane, width))):
                bits = code.select(inside, code.reinterpret(energy, lanes(width, "i32")), _INFINITY)
                place = padded * band + first + lane
                code.store(bits, energies, place)
                code.store(code.convert(code.larger(bits >> 16, _LEAST_KEY) - _LEAST_KEY, "trunc", "i16"), keys, place)
        _compute_ratios(code, pixels, ratios, contrasts)
        with code.loop(0, count) as lane:
            contrast = code.convert(code.load("i8", contrasts, lane), "zext", "i64")
            weight = contrast * contrast
            for statistic in range(len(EDGE_STATISTICS)):
                value = code.convert(code.load("i8", ratios, lane + statistic * GROUP), "zext", "i64")
                entry = value + statistic * HISTOGRAM_STEP
                code.store(code.load("i64", histograms, entry) + weight, histograms, entry)
    size = take("n_percents") * (N_BANDS * 3)  # of each array in `between`
    with code.loop(0, N_BANDS) as number:
        start = padded * number
        code.invoke(
            select,
            *(code.at(energies, start, "i32"), code.at(keys, start, "i16"), n_blocks, padded, listed),
            *(take("percents"), take("n_percents")),
            *(code.at(take("between"), take("n_percents") * number, "float"), size),
        )
    _pool_edges(code, histograms)
    return code


def _count_groups(height: Value, width: Value) -> Value:
    return ((height >> 3) * (width >> 3) + (GROUP - 1)) / GROUP


def _load_blocks(code: Code, first: Value, count: Value, pixels: Value, spare: Value) -> None:
    """Copy the pixels of the blocks of a group into lanes; lanes without a block are black."""
    gray, stride, columns = code.argument("gray"), code.argument("stride"), code.argument("width") >> 3
    row, column = first / columns, first % columns
    source = code.variable(code.at(gray, row * stride * 8 + column * 8, "i8"))
    step = code.variable(stride)
    with code.when(code.compare(column + GROUP, "ugt", columns)):  # the group goes on in the next row of blocks
        with code.loop(0, 64 * GROUP, 64) as i:
            code.store(code.constant(0, lanes(64, "i8")), spare, i)
        with code.loop(0, count) as lane:
            block = first + lane
            corner = code.at(gray, (block / columns) * stride * 8 + (block % columns) * 8, "i8")
            for y in range(8):
                line = code.load_unaligned("i64", code.at(corner, stride * y, "i8"))
                code.store_unaligned(line, code.at(spare, lane * 8 + y * 8 * GROUP, "i8"))
        source.set(spare)
        step.set(8 * GROUP)
    place, distance = source.get(), step.get()
    by_column = [8 * block + x for x in range(8) for block in range(8)]
    for y in range(8):
        line = code.at(place, distance * y, "i8")
        quarters = [code.load_unaligned(lanes(64, "i8"), code.at(line, 64 * quarter, "i8")) for quarter in range(4)]
        # 8 words each, the word x with the pixels x of 8 blocks
        a, b, c, d = (code.reinterpret(code.shuffle(q, q, by_column), lanes(8, "i64")) for q in quarters)
        for half in range(2):
            order = [word + 4 * half + other for word in range(4) for other in (0, 8)]
            ab, cd = code.shuffle(a, b, order), code.shuffle(c, d, order)
            for pair in range(2):
                words = [4 * pair + word + other for word in (0, 2) for other in (0, 1, 8, 9)]
                code.store_unaligned(
                    code.shuffle(ab, cd, words), code.at(pixels, (8 * y + 4 * half + 2 * pair) * GROUP, "i8")
                )


def _mark_blocks(code: Code, lane: Value, count: Value, width: int) -> Value:
    """Tell for each of `width` lanes from `lane` on whether it holds a block."""
    left = code.convert(count - lane, "trunc", "i32")
    return code.compare(code.constants(range(width), "i32"), "slt", code.spread(left, width))


def _transform_blocks(code: Code, pixels: Value, lane: Value, width: int) -> list[Value]:
    """Compute the 2-D DCT of each block after subtracting its first pixel; zero coefficients below the noise floor."""

    def load(i: int) -> Value:
        pixel = code.load(lanes(width, "i8"), pixels, lane + i * GROUP)
        return code.convert(code.convert(pixel, "zext", "i32"), "sitofp", "float")

    first = load(0)
    rows = [_transform_line([load(8 * y + x) - first for x in range(8)]) for y in range(8)]
    columns = [_transform_line([row[u] for row in rows]) for u in range(8)]
    coefficients = [columns[u][v] for v in range(8) for u in range(8)]
    return [code.select(code.compare(code.magnitude(x), "oge", NOISE_FLOOR), x, 0.0) for x in coefficients]


def _transform_line(p: list[Value]) -> list[Value]:
    """Compute the orthonormal DCT-II of eight values.

    Even coefficients come from sums of opposite elements (first and last, and so on), odd ones from their differences.
    """
    s0, s1, s2, s3 = (p[i] + p[7 - i] for i in range(4))
    d0, d1, d2, d3 = (p[i] - p[7 - i] for i in range(4))
    e0, e1, e2, e3 = s0 + s3, s1 + s2, s0 - s3, s1 - s2
    fuse = p[0].code.fuse
    return [
        _C4 * (e0 + e1),
        fuse(_C7, d3, fuse(_C5, d2, fuse(_C1, d0, _C3 * d1))),
        fuse(_C6, e3, _C2 * e2),
        fuse(-_C5, d3, fuse(-_C1, d2, fuse(_C3, d0, -_C7 * d1))),
        _C4 * (e0 - e1),
        fuse(_C3, d3, fuse(_C7, d2, fuse(_C5, d0, -_C1 * d1))),
        fuse(_C6, e2, -_C2 * e3),
        fuse(-_C1, d3, fuse(_C3, d2, fuse(_C7, d0, -_C5 * d1))),
    ]


def _sum_squares(code: Code, coefficients: list[Value]) -> list[Value]:
    """Compute the energy of each band."""
    sums = []
    for band in BANDS.values():
        total = code.constant(0, coefficients[0].type)
        for i in band:
            total = code.fuse(coefficients[i], coefficients[i], total)
        sums.append(total)
    return sums


def _compute_ratios(code: Code, pixels: Value, ratios: Value, contrasts: Value) -> None:
    """Compute rise and half_rise in any, horizontal and vertical direction, and the contrast."""
    all_lanes = lanes(GROUP, "i8")
    p = [code.load(all_lanes, pixels, i * GROUP) for i in range(64)]
    pairs = list(zip(p[::2], p[1::2], strict=True))  # as below
    brightest = reduce(code.larger, starmap(code.larger, pairs))
    darkest = reduce(code.smaller, starmap(code.smaller, pairs))
    contrast = brightest - darkest
    code.store(contrast, contrasts)
    horizontal: list[Value] = []
    vertical: list[Value] = []
    for distance in (1, 2, 4):
        across = [(8 * line + start, 8 * line + start + distance) for line in range(8) for start in range(8 - distance)]
        down = [(8 * start + line, 8 * (start + distance) + line) for start in range(8 - distance) for line in range(8)]
        for places, found in ((across, horizontal), (down, vertical)):
            largest = code.constant(0, all_lanes)
            for one, other in places:
                difference = code.larger(p[one], p[other]) - code.smaller(p[one], p[other])
                largest = code.larger(largest, difference)
            found.append(largest)
    any_direction = [code.larger(one, other) for one, other in zip(horizontal, vertical, strict=True)]

    def to_float(value: Value) -> Value:
        return code.convert(code.convert(value, "zext", "i32"), "sitofp", "float")

    def store_ratio(index: int, dividend: Value, scale: int, inverse: Value) -> None:
        ratio = code.smaller(to_float(dividend) * scale * inverse + _NUDGE, 255.0)
        code.store(code.convert(code.convert(ratio, "fptosi", "i32"), "trunc", "i8"), ratios, index * GROUP)

    inverse_contrast = 1.0 / to_float(code.larger(contrast, MIN_DIVISOR))
    for direction, (over_one, over_two, over_four) in enumerate((any_direction, horizontal, vertical)):
        store_ratio(2 * direction, over_one, FULL_CONTRAST, inverse_contrast)
        inverse = 1.0 / to_float(code.larger(over_four, MIN_DIVISOR))
        store_ratio(2 * direction + 1, over_two, EQUAL_DIFFERENCES, inverse)


def _pool_edges(code: Code, histograms: Value) -> None:
    """Compute weighted percentiles: how many values have less than a share of the weight at or below them."""
    running = code.at(histograms, len(EDGE_STATISTICS) * HISTOGRAM_STEP, "i64")
    with code.loop(0, len(EDGE_STATISTICS)) as statistic:
        total = code.variable(code.constant(0, "i64"))
        with code.loop(0, N_VALUES) as value:
            total.set(total.get() + code.load("i64", histograms, statistic * HISTOGRAM_STEP + value))
            code.store(total.get(), running, value)
        with code.loop(0, code.argument("n_shares")) as share:
            wanted = code.spread(total.get() * code.load("i64", code.argument("shares"), share), 8)
            below = code.variable(code.constant(0, lanes(8, "i64")))
            with code.loop(0, N_VALUES, 8) as value:
                less = code.compare(code.load(lanes(8, "i64"), running, value) * 100, "slt", wanted)
                below.set(below.get() + code.convert(less, "zext", "i64"))
            percentile = code.convert(code.total(below.get()), "sitofp", "float")
            code.store(percentile, code.argument("edges"), statistic * code.argument("n_shares") + share)


def _write_select() -> Code:
    """Write ``select``: the energies between which each percentile lies, by counting instead of sorting.

    The key of the lower one is found by bisection, counting how many blocks have a key up to the middle; then the
    energy itself, among those with that key. The work grows with the number of blocks whatever their energies are.
    """
    code = Code(
        "select",
        {
            "energies": "ptr",
            "keys": "ptr",
            "n_blocks": "i64",
            "padded": "i64",
            "listed": "ptr",
            "percents": "ptr",
            "n_percents": "i64",
            "between": "ptr",
            "size": "i64",
        },
        is_shared=False,
    )
    take = code.argument
    energies, keys, padded, listed = take("energies"), take("keys"), take("padded"), take("listed")
    last = take("n_blocks") - 1
    least_key, largest_key = _find_extremes(code, keys, padded, lanes(GROUP, "i16"), _LARGEST_KEY)
    key, fewer = code.variable(least_key), code.variable(code.constant(0, "i64"))
    with code.loop(0, take("n_percents")) as index:
        percent = code.load("double", take("percents"), index)
        position = code.convert(last, "sitofp", "double") * percent / 100.0
        below = code.convert(position, "fptosi", "i64")
        fraction = position - code.convert(below, "sitofp", "double")
        above = code.smaller(below + 1, last)
        most = code.variable(largest_key)
        with code.repeat_while() as search:  # the least key that more than `below` blocks do not exceed
            search.check(code.compare(key.get(), "ult", most.get()))
            middle = key.get() + ((most.get() - key.get()) >> 1)
            count = _count_up_to(code, keys, padded, lanes(GROUP, "i16"), middle)
            is_enough = code.compare(count, "ugt", below)
            most.set(code.select(is_enough, middle, most.get()))
            fewer.set(code.select(is_enough, fewer.get(), count))
            key.set(code.select(is_enough, key.get(), middle + 1))
        n_listed = _list_energies(code, key.get())
        energy, most = map(code.variable, _find_extremes(code, listed, n_listed, lanes(16, "i32"), _INFINITY - 1))
        with code.repeat_while() as search:  # the same among the energies with that key
            search.check(code.compare(energy.get(), "ult", most.get()))
            middle = energy.get() + ((most.get() - energy.get()) >> 1)
            count = _count_up_to(code, listed, n_listed, lanes(16, "i32"), middle) + fewer.get()
            is_enough = code.compare(count, "ugt", below)
            most.set(code.select(is_enough, middle, most.get()))
            energy.set(code.select(is_enough, energy.get(), middle + 1))
        following = code.variable(energy.get())
        reached = _count_up_to(code, listed, n_listed, lanes(16, "i32"), energy.get()) + fewer.get()
        with code.when(code.compare(reached, "ule", above)):
            following.set(_find_next(code, listed, n_listed, energy.get()))
            with code.when(code.compare(n_listed + fewer.get(), "ule", above)):
                following.set(_find_next(code, energies, padded, energy.get()))
        code.store(energy.get(), take("between"), index)
        code.store(following.get(), take("between"), index + take("size"))
        code.store(code.convert(fraction, "fptrunc", "float"), take("between"), index + take("size") * 2)
    return code


def _count_up_to(code: Code, array: Value, size: Value, kind: str, most: Value) -> Value:
    """Count the numbers of an array up to a value; there may be larger ones after its end, up to whole lanes."""
    zero, step = code.constant(0, kind), GROUP if "i16" in kind else 16
    element = "i16" if "i16" in kind else "i32"
    bound = code.spread(most if most.type == element else code.convert(most, "trunc", element), step)
    counts = code.variable(zero)
    with code.loop(0, size, step) as i:
        counts.set(counts.get() - code.convert(code.compare(code.load(kind, array, i), "ule", bound), "sext", element))
    found = counts.get()
    return code.convert(code.total(code.convert(found, "zext", "i32") if element == "i16" else found), "zext", "i64")


def _find_extremes(code: Code, array: Value, size: Value, kind: str, most: int) -> tuple[Value, Value]:
    """Find the smallest and the largest number of an array, leaving out any above `most`."""
    step, element = (GROUP, "i16") if "i16" in kind else (16, "i32")
    least, largest = code.variable(code.constant(most, kind)), code.variable(code.constant(0, kind))
    with code.loop(0, size, step) as i:
        each = code.load(kind, array, i)
        least.set(code.smaller(least.get(), each))
        largest.set(code.larger(largest.get(), code.select(code.compare(each, "ugt", most), 0, each)))
    found = [
        code.call("vector.reduce.umin", least.get(), result=element),
        code.call("vector.reduce.umax", largest.get(), result=element),
    ]
    low, high = (code.convert(value, "zext", "i64") for value in found) if element == "i16" else found
    return low, high


def _find_next(code: Code, array: Value, size: Value, energy: Value) -> Value:
    """Find the least energy of an array that is larger than one."""
    kind = lanes(16, "i32")
    bound, least = code.spread(energy, 16), code.variable(code.constant(_INFINITY, kind))
    with code.loop(0, size, 16) as i:
        each = code.load(kind, array, i)
        least.set(code.smaller(least.get(), code.select(code.compare(each, "ugt", bound), each, _INFINITY)))
    return code.call("vector.reduce.umin", least.get(), result="i32")


def _list_energies(code: Code, key: Value) -> Value:
    """List the energies that have a key, with infinity after them; -> how many there are."""
    energies, listed = code.argument("energies"), code.argument("listed")
    n_listed = code.variable(code.constant(0, "i64"))
    wanted = code.spread(code.convert(key, "trunc", "i16"), GROUP)
    with code.loop(0, code.argument("padded"), GROUP) as i:
        found = code.compare(code.load(lanes(GROUP, "i16"), code.argument("keys"), i), "eq", wanted)
        marks = code.variable(code.reinterpret(found, "i32"))
        with code.repeat_while() as search:
            search.check(code.compare(marks.get(), "ne", 0))
            lane = code.convert(code.call("cttz", marks.get(), more=", i1 true"), "zext", "i64")
            code.store(code.load("i32", energies, i + lane), listed, n_listed.get())
            n_listed.set(n_listed.get() + 1)
            marks.set(marks.get() & (marks.get() - 1))
    code.store(code.constant(_INFINITY, lanes(16, "i32")), listed, n_listed.get())
    return n_listed.get()


def _write_halve() -> Code:
    """Write ``halve``: each pixel is the mean of 2x2 pixels, with halves rounded up."""
    code = Code("halve", {"gray": "ptr", "height": "i64", "width": "i64", "stride": "i64", "half": "ptr"})
    take = code.argument
    columns = take("width") >> 1
    with code.loop(0, take("height") >> 1) as y:
        upper = code.at(take("gray"), y * 2 * take("stride"), "i8")
        lower = code.at(upper, take("stride"), "i8")
        into = code.at(take("half"), y * columns, "i8")

        def halve_some(x: Value, count: int, upper: Value = upper, lower: Value = lower, into: Value = into) -> None:
            total = code.constant(2, lanes(count, "i16"))
            for line in (upper, lower):
                pairs = code.load_unaligned(lanes(count, "i16"), code.at(line, x * 2, "i8"))
                total = total + (pairs & 255) + (pairs >> 8)
            code.store_unaligned(code.convert(total >> 2, "trunc", "i8"), code.at(into, x, "i8"))

        whole = columns - columns % GROUP
        with code.loop(0, whole, GROUP) as x:
            halve_some(x, GROUP)
        with code.when(code.compare(whole, "ult", columns)):
            with code.when(code.compare(columns, "uge", GROUP)):  # the last pixels, some of them once more
                halve_some(columns - GROUP, GROUP)
            with code.when(code.compare(columns, "ult", GROUP)), code.loop(0, columns) as x:
                halve_some(x, 1)
    return code


def _write_sum_statistics(width: int) -> Code:
    """Write ``sum_statistics``: the classic statistics of each band, summed over all blocks, in float64."""
    code = Code("sum_statistics", {"gray": "ptr", "height": "i64", "width": "i64", "stride": "i64", "totals": "ptr"})
    take = code.argument
    n_blocks = (take("height") >> 3) * (take("width") >> 3)
    n_totals = N_BANDS * len(CLASSIC_STATISTICS)
    by_lane = code.reserve(n_totals * GROUP, "double")
    with code.loop(0, n_totals * GROUP, 8) as i:
        code.store(code.constant(0, lanes(8, "double")), by_lane, i)
    pixels, spare = code.reserve(64 * GROUP, "i8"), code.reserve(64 * GROUP, "i8")
    with code.loop(0, _count_groups(take("height"), take("width"))) as group:
        first = group * GROUP
        _load_blocks(code, first, code.smaller(n_blocks - first, GROUP), pixels, spare)
        with code.loop(0, GROUP, width) as lane:
            coefficients = _transform_blocks(code, pixels, lane, width)
            for number, band in enumerate(BANDS.values()):
                for statistic, value in enumerate(_finish_statistics(code, [coefficients[i] for i in band])):
                    place = lane + (number * len(CLASSIC_STATISTICS) + statistic) * GROUP
                    total = code.load(lanes(width, "double"), by_lane, place)
                    code.store(total + code.convert(value, "fpext", "double"), by_lane, place)
    with code.loop(0, n_totals) as index:
        joined = code.variable(code.constant(0, "double"))
        with code.loop(0, GROUP) as lane:
            joined.set(joined.get() + code.load("double", by_lane, index * GROUP + lane))
        code.store(joined.get(), take("totals"), index)
    return code


def _finish_statistics(code: Code, band: list[Value]) -> list[Value]:
    """Compute the classic statistics of a band; all are zero in lanes without a block."""
    zero = code.constant(0, band[0].type)
    total = zero
    for x in band:
        total = total + x
    mean = total * _INVERSE_SIZE
    squares = cubes = fourths = energy = magnitudes = weighted = zero
    for x in band:
        deviation = x - mean
        squared = deviation * deviation
        squares, energy = squares + squared, code.fuse(x, x, energy)
        cubes, fourths = code.fuse(squared, deviation, cubes), code.fuse(squared, squared, fourths)
    for x in band:
        magnitude, log2 = _compute_log2(code, x)
        magnitudes, weighted = magnitudes + magnitude, code.fuse(magnitude, log2, weighted)
    _, log2 = _compute_log2(code, magnitudes)
    entropy = math.log(2) * (log2 - weighted / code.larger(magnitudes, _TINY))
    entropy = code.select(code.compare(magnitudes, "ogt", 0.0), entropy, 0.0)
    variance = code.larger(squares * _INVERSE_SIZE, _TINY)
    std = code.call("sqrt", squares * _INVERSE_SIZE)
    skewness = cubes * _INVERSE_SIZE / (variance * code.call("sqrt", variance))
    kurtosis = fourths * _INVERSE_SIZE / (variance * variance) - 3.0
    has_spread = code.compare(squares, "ogt", _MIN_RELATIVE_SPREAD * energy)
    return [
        mean,
        std,
        code.select(has_spread, skewness, 0.0),
        code.select(has_spread, kurtosis, 0.0),
        entropy,
        energy,
    ]


def _compute_log2(code: Code, x: Value) -> tuple[Value, Value]:
    """Compute |x| and log2 |x|, where |x| = 2^exponent (1 + t)."""
    integers = x.type.replace("float", "i32")
    bits = code.reinterpret(x, integers) & 0x7FFFFFFF
    t = code.reinterpret((bits & 0x7FFFFF) | 0x3F800000, x.type) - 1.0
    exponent = code.convert((bits >> 23) - 127, "sitofp", "float")
    *others, last = _fit_log2_polynomial()
    polynomial = code.constant(last, x.type)
    for coefficient in reversed(others):
        polynomial = code.fuse(t, polynomial, code.constant(coefficient, x.type))
    return code.reinterpret(bits, x.type), code.fuse(t, polynomial, exponent)


def _write_walk_trees(n_walks: int) -> Code:
    """Write ``walk_trees``: rows of features -> margins, summed in the order of the trees, as XGBoost does.

    A node is four numbers of 32 bits: its feature, with the side of rows that lack it in the highest bit; the value to
    compare with, or a leaf's margin; its children. There are places for roots up to a multiple of `n_walks`.
    """
    code = Code(
        "walk_trees",
        {
            "rows": "ptr",
            "n_rows": "i64",
            "n_features": "i64",
            "nodes": "ptr",
            "roots": "ptr",
            "outputs": "ptr",
            "n_trees": "i64",
            "n_outputs": "i64",
            "margins": "ptr",
        },
    )
    take = code.argument
    nodes, roots, leaves = take("nodes"), take("roots"), code.reserve(n_walks, "float")
    with code.loop(0, take("n_rows")) as index:
        row = code.at(take("rows"), index * take("n_features"), "float")
        sums = code.at(take("margins"), index * take("n_outputs"), "float")
        with code.loop(0, take("n_trees"), n_walks) as first:
            walks = [code.variable(code.load("i32", roots, first + walk)) for walk in range(n_walks)]
            with code.repeat_while() as walking:
                changed = code.constant(0, "i32")
                for walk in walks:
                    node = walk.get()
                    child = _step(code, nodes, row, node)
                    walk.set(child)
                    changed = changed | (child ^ node)
                walking.check(code.compare(changed, "ne", 0))
            for number, walk in enumerate(walks):
                code.store(code.load("float", nodes, code.convert(walk.get(), "zext", "i64") * 4 + 1), leaves, number)
            with code.loop(0, code.smaller(take("n_trees") - first, n_walks)) as tree:
                output = code.convert(code.load("i32", take("outputs"), first + tree), "zext", "i64")
                code.store(code.load("float", sums, output) + code.load("float", leaves, tree), sums, output)
    return code


def _step(code: Code, nodes: Value, row: Value, node: Value) -> Value:
    """Find the child of a node that a row goes to."""
    place = code.convert(node, "zext", "i64") * 4
    packed, value = code.load("i32", nodes, place), code.load("float", nodes, place + 1)
    feature = code.load("float", row, code.convert(packed & 0x7FFFFFFF, "zext", "i64"))
    is_right = code.convert(code.compare(feature, "oge", value), "zext", "i32")
    is_missing = code.convert(code.compare(feature, "uno", feature), "zext", "i32")
    side = is_right | (is_missing & (packed >> 31))
    return code.load("i32", nodes, place + 2 + code.convert(side, "zext", "i64"))
