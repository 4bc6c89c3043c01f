"""Texts of one line, such as titles and names: the characters they may have, and the places of a cut. Pure."""

from __future__ import annotations

from unicodedata import category

ZERO_WIDTH_NON_JOINER = "\u200c"
ZERO_WIDTH_JOINER = "\u200d"
# Format characters with a meaning inside a line: joiners shape words and emoji, tags spell flags of regions.
_KEPT = {ZERO_WIDTH_NON_JOINER, ZERO_WIDTH_JOINER, *map(chr, range(0xE0020, 0xE0080))}
_JOINERS = ZERO_WIDTH_NON_JOINER + ZERO_WIDTH_JOINER


def single_line(text: str) -> str:
    """One line: breaks and control characters become spaces, marks that turn the writing direction are left out."""
    line = " ".join("".join(map(_shown, text)).split())
    return line.strip(_JOINERS + " ")


def is_single_line(text: str) -> bool:
    """True for a text without breaks, control characters, and marks that turn the writing direction."""
    return all(_shown(character) == character for character in text)


def cut(text: str, longest: int) -> str:
    """The beginning of a text: at most ``longest`` characters, and no character of a reader is divided."""
    if len(text) <= longest:
        return text
    end = longest
    while end > 0 and _joined(text, end):
        end -= 1
    return text[:end]


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    kind = category(character)
    if kind in ("Cc", "Zl", "Zp"):
        return " "
    if kind == "Cf" and character not in _KEPT:
        return ""
    return "" if kind == "Cs" else character


def _joined(text: str, at: int) -> bool:
    """True where both neighbours are one character to a reader (UAX 29, without the rules of single scripts)."""
    before, after = text[at - 1], text[at]
    if ZERO_WIDTH_JOINER in (before, after) or _extends(after):
        return True
    if _is_regional(before) and _is_regional(after):
        # Flags are pairs, counted from where the row of such letters begins.
        begin = at
        while begin > 0 and _is_regional(text[begin - 1]):
            begin -= 1
        return (at - begin) % 2 == 1
    return _is_jamo_pair(before, after)


def _extends(character: str) -> bool:
    """True for a character that only changes the one before it: accents, variants, skin tones, tags."""
    code = ord(character)
    return category(character) in ("Mn", "Mc", "Me") or 0x1F3FB <= code <= 0x1F3FF or 0xE0020 <= code <= 0xE007F


def _is_regional(character: str) -> bool:
    return 0x1F1E6 <= ord(character) <= 0x1F1FF


def _is_jamo_pair(before: str, after: str) -> bool:
    """True for two parts of one Korean syllable."""
    first, second = ord(before), ord(after)
    if 0x1100 <= first <= 0x115F:
        return 0x1100 <= second <= 0x11A7 or 0xAC00 <= second <= 0xD7A3
    open_syllable = 0xAC00 <= first <= 0xD7A3 or 0x1160 <= first <= 0x11A7
    if open_syllable:
        return 0x1160 <= second <= 0x11FF
    return 0x11A8 <= first <= 0x11FF and 0x11A8 <= second <= 0x11FF
