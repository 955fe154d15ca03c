"""From a field as people write it to the numbers in it: text only, no numbering plan.

A number comes out as its candidates, best first: `+` and digits, or dialable characters (`0-9*#`) without a plus.
What is wrong with each kind of text, and what libphonenumber makes of it, is in the comments beside each rule.
"""

from __future__ import annotations

import re
import unicodedata
import urllib.parse

Candidates = tuple[str, ...]

WHOLE = 6
"""Digits that a text must have to be a number of its own beside another one."""
LONGEST = 32
"""More dialable characters than these are no number."""

_EXTENSION_WORDS = (
    r"ext(?:ension|n)?|xtn|durchwahl|dw|nebenstelle|nst|klappe|kl|apparat|app|poste|interne?|interno|int|anexo|"
    r"anschluss|toestel|ramal|доб|x"
)
_EXTENSION = re.compile(rf"[,;]?\s*\b(?:{_EXTENSION_WORDS})\s*[.:=\-]*\s*\d{{1,7}}(?!\d)#?", re.I)
_EXTENSION_GLUED = re.compile(r"(?<=\d)\s*(?:ext|dw|x)\.?\s*\d{1,7}(?!\d)|(?<=\d\d\d\d\d\d)\s+#\s*\d{1,7}(?!\d)", re.I)
_EXTENSION_ALONE = re.compile(rf"\s*(?:{_EXTENSION_WORDS})\s*[.:=\-]*\s*(\d{{1,7}})#?\s*", re.I)
_PAUSE = re.compile(r"(?:(?<=\d)\s*[pw]|,\s*,)[\s,pw]*[\d*#]+(?:[\s,pw]+[\d*#]+)*(?!\w)", re.I)
_BRACKET = re.compile(r"[(\[{<]([^()\[\]{}<>]*)[)\]}>]")
_BRACKET_KEPT = re.compile(r"[+\d\s.\-]*\d[\d\s.\-]*")
_ZERO = re.compile(r"(?<=\d)\s*[(\[]\s*0\s*[)\]]")
_BARE_ZERO = re.compile(r"(?<=\d\))\(0\)|(?<=\d)\(0\)")
_SCHEME = re.compile(r"\b(?:tel|callto|sips?):", re.I)
_ADDRESS = re.compile(r"([^\s<>\"';?@]+)(?:[;?][^\s<>@]*)?@[^\s<>\"']*")
_ADDRESS_NUMBER = re.compile(r"[+\d().\-*#]+")
_CONTEXT = re.compile(r"([^+;]*);phone-context=(\+[\d.\-()]+)", re.I)
_PARAMETER = re.compile(r";\s*[a-z][a-z\-]*=[^;\s>]*", re.I)
_VANITY = re.compile(r"\s*(\+?\s*1[\s.\-]*)?\(?([2-9]\d\d)\)?[\s.\-]*([A-Z0-9][A-Z0-9 .\-]*?)\s*", re.I)
_SILENT = re.compile(r"[^0-9*#\x01]+")
_DIALLED = re.compile(r"[0-9*#]")
_LETTERS = re.compile(r"[^\W\d_]+")
_HARD = re.compile(r"[\n;,|&]|(?<=\d)\s*(?=\+)")
_SLASH = re.compile(r"\s+/\s*|/\s+")
_LOOSE = tuple(map(re.compile, (r"\s+[/\\\-]\s+", r"[/\\\-]", r"\s+")))

_KEYPAD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "22233344455566677778889999")
_SEPARATORS = str.maketrans("", "", "\u00a0\u202f\u2009\u2010\u2011\u2012\u2013")
_DROPPED = "\x01"  # stands for a "(0)" behind other digits


def plain(text: str) -> Candidates:
    """The one number of a text that holds nothing else but separators, at little cost; () for every other text."""
    if not text.isascii():
        text = text.translate(_SEPARATORS)
    if "/" in text and ("(" in text or _SLASH.search(text)):
        return ()
    bare = text.replace(" ", "").replace("-", "").replace(".", "").replace("/", "")
    if "(" in bare:
        bare = _BARE_ZERO.sub(_DROPPED, bare).replace("(", "").replace(")", "")
    sign, digits = ("+", bare[1:]) if bare.startswith("+") else ("", bare)
    if not digits.isascii() or len(digits) > LONGEST:
        return ()
    if digits.isdigit():
        return (bare,) if digits[0] != "0" else (candidate(bare),)
    marked = _DROPPED in digits and digits.replace(_DROPPED, "").isdigit()
    return _dialled(sign, digits) if marked else ()


def numbers(text: str, nanp: bool) -> list[Candidates]:
    """Every number in a field; `nanp`: the field is from a country under +1, where letters may be dialled."""
    text = _without_uri(_folded(text))
    if _LETTERS.search(text):
        dialled = _vanity(text, nanp) or _lone_extension(text)
        if dialled:
            return [(dialled,)]
    text = _without_extensions(_without_brackets(text))
    found = (_candidates(part) for part in _parts(text))
    return [candidates for candidates in found if candidates]


def loose(text: str) -> list[Candidates]:
    """The same, parted at hyphens, tight slashes and blanks too: for a text that makes no number in one piece."""
    folded = _folded(text)
    for separator in _LOOSE:
        parts = separator.split(folded)
        if len(parts) > 1 and min(map(_digits, parts)) >= WHOLE:
            return [candidates for part in parts if (candidates := _candidates(part))]
    return []


def candidate(bare: str) -> str:
    """Without the plus where it means nothing: "+00352…" is "+352…", and "+0621…" is "0621…"."""
    if not bare.startswith("+0"):
        return bare
    rest = bare[1:].lstrip("0")
    return "+" + rest if rest and bare.startswith("+00") else bare[1:]


def _folded(text: str) -> str:
    """ASCII digits, signs and blanks for all that Unicode has of them; line breaks stay."""
    return text if text.isascii() and text.isprintable() else "".join(map(_fold, text)).strip()


def _fold(c: str) -> str:
    decimal = unicodedata.decimal(c, None)
    if decimal is not None:
        return str(decimal)
    match unicodedata.category(c):
        case "Cf":  # bidi marks, soft hyphens and joiners, which phones paste in
            return ""
        case "Pd":
            return "-"
        case "Zs":
            return " "
        case "Cc" | "Cs" | "Zl" | "Zp":
            return "\n" if c in "\n\r\v\f\u2028\u2029" else " "
    if c == "\u2212":
        return "-"
    return unicodedata.normalize("NFKC", c) if "\uff01" <= c <= "\uff5e" else c


def _without_uri(text: str) -> str:
    """tel: and sip: URIs without scheme, host and parameters; an address whose user is no number is nothing."""
    if "%" in text:
        text = urllib.parse.unquote(text)
    if ":" in text:
        text = _SCHEME.sub(" ", text)
    if "@" in text:
        text = _ADDRESS.sub(lambda found: found[1] if _ADDRESS_NUMBER.fullmatch(found[1]) else " ", text)
    return _PARAMETER.sub("", _CONTEXT.sub(r"\2\1", text)) if ";" in text else text


def _vanity(text: str, nanp: bool) -> str:
    """Letters are dialled in North America alone, and only as "1-800-FLOWERS" writes them: elsewhere
    libphonenumber turns "(privat)" into seven more digits and calls the result valid."""
    found = _VANITY.fullmatch(_EXTENSION.sub("", text))
    if found is None:
        return ""
    lead, area, local = found[1] or "", found[2], re.sub(r"[\s.\-]", "", found[3])[:7].upper()
    known = "+" in lead or nanp or (lead and area in ("800", "833", "844", "855", "866", "877", "888", "900"))
    if not known or len(local) < 7 or sum(c.isalpha() for c in local) < 3:
        return ""
    return f"+1{area}{local.translate(_KEYPAD)}"


def _lone_extension(text: str) -> str:
    found = _EXTENSION_ALONE.fullmatch(text)
    return found[1] if found else ""


def _without_brackets(text: str) -> str:
    """A bracket with words in it goes, and ends the number if one is complete; "(0)" behind digits is marked."""
    text = _ZERO.sub(_DROPPED, text)

    def kept(found: re.Match[str]) -> str:
        if _BRACKET_KEPT.fullmatch(found[1]):
            return f" {found[1]} "
        return "\n" if _digits(found.string[: found.start()]) >= WHOLE else " "

    return _BRACKET.sub(kept, text)


def _without_extensions(text: str) -> str:
    """Extensions and what is dialled after a pause are not part of the number before them."""

    def cut(found: re.Match[str]) -> str:
        return "\n" if _digits(found.string[: found.start()]) else found[0]

    text = _EXTENSION_GLUED.sub(cut, _EXTENSION.sub(cut, text))
    return _PAUSE.sub("\n", text)


def _parts(text: str) -> list[str]:
    """Words and separators part numbers where each side is long enough; else the first that is one is all."""
    pieces: list[str] = []
    short: list[str] = []
    words = _LETTERS.split(text)
    for place, piece in enumerate(words):
        glued = (place > 0 and piece[:1].isdigit()) or (place + 1 < len(words) and piece[-1:].isdigit())
        for part in _HARD.split(piece):
            if _digits(part) >= WHOLE:
                pieces += _slashed(part)
            elif not glued and _DIALLED.search(part):
                short.append(part)
    return pieces or short[:1]


def _slashed(part: str) -> list[str]:
    """Two numbers at " / ", but one where a side is short or is an area code ("035205 / 12345")."""
    sides = _SLASH.split(part)
    code = _digits(sides[0]) <= WHOLE and sides[0].lstrip(" (").startswith("0")
    return [part] if code or min(map(_digits, sides)) < WHOLE else sides


def _candidates(part: str) -> Candidates:
    sign = "+" if "+" in _DIALLED.split(part, maxsplit=1)[0] else ""
    return _dialled(sign, _SILENT.sub("", part))


def _dialled(sign: str, kept: str) -> Candidates:
    """The candidates of what is dialled, where a marked "(0)" may or may not be."""
    dialled = kept.replace(_DROPPED, "")
    if not dialled or len(dialled) > LONGEST:
        return ()
    if "*" in dialled or "#" in dialled:
        return (dialled,)
    if _DROPPED in kept and (sign or dialled.startswith("00")):
        # Italy keeps the zero: whether it goes is for the numbering plan to say, so both are tried.
        return candidate(sign + kept.replace(_DROPPED, "0")), candidate(sign + dialled)
    return (candidate(sign + dialled),)


def _digits(text: str) -> int:
    return len(_SILENT.sub("", text))
