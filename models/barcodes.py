"""Text -> the modules of a barcode: Code 39, EAN-13, and matrices that only look like codes."""

import numpy as np
from numpy.typing import NDArray

CODE39_LETTERS = "1234567890ABCDEFGHIJKLMNOPQRSTUVWXYZ-. *"
CODE39_BARS = ("wnnnw", "nwnnw", "wwnnn", "nnwnw", "wnwnn", "nwwnn", "nnnww", "wnnwn", "nwnwn", "nnwwn")
CODE39_SPACES = ("nwnn", "nnwn", "nnnw", "wnnn")
EAN_ODD = ("0001101", "0011001", "0010011", "0111101", "0100011", "0110001", "0101111", "0111011", "0110111", "0001011")
EAN_PARITIES = (
    "OOOOOO", "OOEOEE", "OOEEOE", "OOEEEO", "OEOOEE", "OEEOOE", "OEEEOO", "OEOEOE", "OEOEEO", "OEEOEO",
)  # fmt: skip


def code39(text: str) -> str:
    """Encode a text as Code 39, start and stop included; wide elements are three modules.

    Parameters
    ----------
    text : str
        Digits, capital letters, ``-``, ``.`` and spaces.

    Returns
    -------
    str
        One digit per module: 1 is black.

    Examples
    --------
    >>> code39("A")[16:31]
    '111010100010111'
    """
    return "0".join(_code39_letter(letter) for letter in f"*{text}*")


def _code39_letter(letter: str) -> str:
    group, place = divmod(CODE39_LETTERS.index(letter), 10)
    bars, spaces = CODE39_BARS[place], CODE39_SPACES[group] + " "
    modules = {"n": 1, "w": 3, " ": 0}
    return "".join("1" * modules[bar] + "0" * modules[space] for bar, space in zip(bars, spaces, strict=True))


def ean_check_digit(digits: str) -> str:
    """Compute the thirteenth digit of an EAN-13.

    Examples
    --------
    >>> ean_check_digit("400638133393")
    '1'
    """
    return str(-sum(int(digit) * (1 + 2 * (place % 2)) for place, digit in enumerate(digits)) % 10)


def ean13(digits: str) -> str:
    """Encode twelve digits and their check digit as EAN-13.

    Parameters
    ----------
    digits : str
        Twelve digits.

    Returns
    -------
    str
        95 digits, one per module: 1 is black.

    Examples
    --------
    >>> ean13("400638133393")[:17]
    '10100011010100111'
    """
    even = [_inverse(code)[::-1] for code in EAN_ODD]
    tables = {"O": EAN_ODD, "E": even}
    numbers = [int(digit) for digit in digits + ean_check_digit(digits)]
    parities = EAN_PARITIES[numbers[0]]
    left = "".join(tables[parity][number] for parity, number in zip(parities, numbers[1:7], strict=True))
    right = "".join(_inverse(EAN_ODD[number]) for number in numbers[7:])
    return f"101{left}01010{right}101"


def _inverse(modules: str) -> str:
    return modules.translate(str.maketrans("01", "10"))


def random_matrix(side: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw modules that look like a QR code or a Data Matrix; they encode nothing.

    Parameters
    ----------
    side : int
        Modules along a side; even, at least 16.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (side, side), bool
        True is black.
    """
    modules = rng.random((side, side)) < 0.5
    if rng.random() < 0.5:  # Data Matrix: a solid corner and a dotted one
        modules[0] = np.arange(side) % 2 == 0
        modules[:, -1] = np.arange(side) % 2 == 1
        modules[:, 0] = modules[-1] = True
        return modules
    rings = np.maximum(*np.abs(np.mgrid[-3:4, -3:4]))  # distance from the middle of a finder
    finder = np.isin(rings, (0, 1, 3))
    for rows, columns in ((0, 0), (0, side - 7), (side - 7, 0)):
        modules[max(rows - 1, 0) : rows + 8, max(columns - 1, 0) : columns + 8] = False
        modules[rows : rows + 7, columns : columns + 7] = finder
    return modules
