"""Random words, numbers and lines of text, and the fonts of this machine to print them in."""

import random
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import ImageFont

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

FONT_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
    "C:/Windows/Fonts",
)
FAMILIES = (
    "DejaVuSans",
    "DejaVuSerif",
    "Liberation",
    "FreeS",
    "STIXGeneral",
    "cmr10",
    "cmss10",
    "arial",
    "times",
    "georgia",
)
ALPHABETS = (
    ("b c d f g h k l m n p r s t v w st tr ch qu", "a e i o u ea ou io", 0.8),
    ("β γ δ ζ θ κ λ μ ν ξ π ρ σ τ φ χ ψ", "α ε η ι ο υ ω ου αι", 0.1),
    ("б в г д ж з к л м н п р с т ф х ц ч ш", "а е и о у ы я ю", 0.1),
)  # consonants, vowels, share of the scenes
VOCABULARY = 120  # words per sheet


@lru_cache
def find_fonts() -> tuple[Path, ...]:
    """Find the text fonts of this machine and those that Matplotlib carries; there may be none."""
    spec = find_spec("matplotlib")
    carried = (
        [Path(folder) / "mpl-data" / "fonts" for folder in (spec.submodule_search_locations or [])] if spec else []
    )
    folders = [Path(folder) for folder in FONT_FOLDERS] + carried
    found = {path.name: path for folder in folders for path in folder.rglob("*.ttf") if path.name.startswith(FAMILIES)}
    return tuple(found[name] for name in sorted(found) if "Display" not in name and "NonUni" not in name)


@lru_cache(maxsize=500)
def font_of(path: Path | None, size: int) -> Font:
    """Open a font at a size in dots; Pillow's own for None.

    Parameters
    ----------
    path : Path or None
    size : int
        Dots.

    Returns
    -------
    ImageFont.FreeTypeFont or ImageFont.ImageFont
    """
    if path is None:
        return ImageFont.load_default(size)
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def find_mono() -> Path | None:
    """Find the font for the text below a barcode."""
    return next((path for path in find_fonts() if path.stem == "DejaVuSansMono"), None)


@lru_cache(maxsize=500)
def _has_letter(path: Path | None, letter: str) -> bool:
    font = font_of(path, 24)
    return bytes(font.getmask(letter)) != bytes(font.getmask("\U0010ffff"))


def _pickfont_of(rng: np.random.Generator) -> Path | None:
    fonts = find_fonts()
    return fonts[rng.integers(len(fonts))] if fonts else None


class Words:
    """Random words of one script, and the font to print them in.

    Parameters
    ----------
    rng : numpy.random.Generator
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.path = _pickfont_of(rng)
        alphabet = rng.choice(len(ALPHABETS), p=[share for *_, share in ALPHABETS])
        consonants, vowels, _ = ALPHABETS[alphabet if _has_letter(self.path, ALPHABETS[alphabet][0][0]) else 0]
        self._dice = random.Random(int(rng.integers(2**32)))
        self._words = [self._invent(consonants.split(), vowels.split()) for _ in range(VOCABULARY)]

    def _invent(self, consonants: list[str], vowels: list[str]) -> str:
        syllables = self._dice.choices(range(1, 5), (3, 5, 3, 1))[0]
        word = "".join(self._dice.choice(consonants) + self._dice.choice(vowels) for _ in range(syllables))
        return word + self._dice.choice(("", "", *consonants))

    def font(self, size: float) -> Font:
        """Return the font at a size in dots."""
        return font_of(self.path, max(8, round(size)))

    def word(self) -> str:
        """Return one word with a capital."""
        return self._dice.choice(self._words).capitalize()

    def coin(self) -> bool:
        """Return heads or tails."""
        return self._dice.random() < 0.5

    def number(self) -> str:
        """Return a price, a date, a count or a code."""
        dice = self._dice
        return dice.choice(
            (
                f"{dice.randrange(1, 2000)}.{dice.randrange(100):02}",
                f"{dice.randrange(1, 32):02}.{dice.randrange(1, 13):02}.20{dice.randrange(10, 30)}",
                str(dice.randrange(1, 10**6)),
                f"{dice.choice('ABCKNRSTX')}{dice.randrange(10, 99)}-{dice.randrange(1000, 9999)}",
                f"{dice.randrange(1, 100)} %",
                f"€ {dice.randrange(1, 100)},{dice.randrange(100):02}",
            )
        )

    def digits(self, count: int) -> str:
        """Return digits."""
        return "".join(self._dice.choices("0123456789", k=count))

    def line(self, font: Font, width: float) -> str:
        """Return a line of running text that is at most so many dots wide; at least three letters.

        Parameters
        ----------
        font : ImageFont.FreeTypeFont or ImageFont.ImageFont
        width : float
            Dots.

        Returns
        -------
        str
        """
        letter = font.getlength("anesit") / 6
        words = self._dice.choices(self._words, k=max(1, int(width / letter / 3)))
        words = [self._punctuate(word) for word in words]
        text = " ".join(words)[: max(3, int(width / letter))]
        while len(text) > 3 and font.getlength(text) > width:
            text = text.rpartition(" ")[0] or text[:-1]
        return text

    def _punctuate(self, word: str) -> str:
        chance = self._dice.random()
        if chance > 0.3:
            return word
        return (
            f"{word},"
            if chance < 0.08
            else f"{word}."
            if chance < 0.14
            else word.capitalize()
            if chance < 0.24
            else self.number()
        )
