"""Measure text without its font: a guess on the wide side, and how much of a text fits into a width."""

import unicodedata

#: Shares of the font's size, as in the widest of the usual fonts.
_SHARES = {
    **dict.fromkeys("iljI.,:;'|! /-tfr()[]", 0.4),
    **dict.fromkeys("mwMW@%—…<>=+~#", 0.95),
}
_LETTER, _CAPITAL, _SQUARE = 0.62, 0.76, 1.0
_BOLD = 1.1
#: How much of a name's end is kept when it is cut: similar names differ there.
_END = 6


def width(text: str, size: float, *, bold: bool = False) -> float:
    """Return the pixels that a text takes in a proportional sans-serif font."""
    return sum(map(_share, text)) * size * (_BOLD if bold else 1.0)


def _share(sign: str) -> float:
    if unicodedata.east_asian_width(sign) in "WF":
        return _SQUARE
    return _SHARES.get(sign, _CAPITAL if sign.isupper() else _LETTER)


def fit(text: str, room: float, size: float) -> str:
    """Return as much of the text as there is room for, with an ellipsis if anything is left out."""
    return text if width(text, size) <= room else _cut(text, "", room, size, bold=False)


def fit_name(name: str, room: float, size: float) -> str:
    """Fit a name in bold, keeping its end."""
    return name if width(name, size, bold=True) <= room else _cut(name[:-_END], name[-_END:], room, size, bold=True)


def _cut(text: str, end: str, room: float, size: float, *, bold: bool) -> str:
    while text and width(f"{text}…{end}", size, bold=bold) > room:
        text = text[:-1]
    return f"{text.rstrip()}…{end}"


def wrap(text: str, room: float, size: float, most: int) -> list[str]:
    """Wrap into a few lines at most; the last one ends in an ellipsis if anything is left out."""
    lines: list[str] = []
    words = text.split(" ")
    while words and len(lines) < most - 1:
        line = words.pop(0)
        while words and width(f"{line} {words[0]}", size) <= room:
            line += f" {words.pop(0)}"
        lines.append(fit(line, room, size))
    return [*lines, fit(" ".join(words), room, size)] if words else lines
