"""Keeping secrets and people out of what is written down. Text from outside passes here before it is kept.

Kill path: standard library only. It would rather mask a harmless number than keep somebody's.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

MASK = "[redacted]"
_HASH = re.compile(r"(?=[0-9]*[a-f])[0-9a-f]{12,64}")
_NAMES = (
    r"(?:[\w.-]*(?:token|secret|passw(?:or)?d|passphrase)s?"
    r"|(?:[\w.-]*[_.-])?(?:api|access|private)?(?:key|pwd)s?)"
)
"""What a name of a secret ends in: `api_key` and `sessionToken`, but not `monkey`."""


def redact(text: str, max_length: int = 500) -> str:
    """One line without control characters, secrets and personal numbers, at most `max_length` characters long.

    Masked are: e-mail addresses; runs of nine and more digits, social security, telephone and card numbers in their
    usual spellings, identifiers such as `1012345678V123456`; bearer tokens, JSON web tokens, well-known kinds of API
    keys; passwords in URLs; values that are named token, key, secret or password. Kept are times and commit hashes.
    What is cut off ends in `…`.
    """
    text = text[: max_length * 4 + 1000]
    was_cut = len(text) == max_length * 4 + 1000
    line = " ".join("".join(_printable(letter) for letter in text).split())
    if was_cut:  # the last word may be half a secret that is no longer known as one
        line = line.rpartition(" ")[0]
    for pattern, mask in _patterns():
        line = pattern.sub(mask, line)
    line = _digits().sub(_masked_digits, line)
    if len(line) > max_length or was_cut:
        line = line[: max(0, max_length - 1)] + "…" if max_length > 0 else ""
    return line


def _printable(letter: str) -> str:
    category = unicodedata.category(letter)
    if category in ("Cc", "Zl", "Zp"):
        return " "
    return "" if category in ("Cf", "Cs") else letter


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    # Compiled at first use: the kill path loads this module.
    plain = re.IGNORECASE
    return tuple(
        (re.compile(pattern, plain), mask)
        for pattern, mask in (
            (r"\b([a-z][a-z0-9+.-]{0,20}://)[^\s/@]{1,200}@", rf"\1{MASK}@"),
            (r"\b(authorization)(\"?\s*[:=]\s*)[^\s\"']+(?:\s+[^\s\"']+)?", rf"\1\2{MASK}"),
            (r"\b(cookie)(\"?\s*[:=]\s*)[^\"']+", rf"\1\2{MASK}"),
            (rf"(?<![\w.-])({_NAMES})(\"?\s*[=:]\s*)(\"[^\"]*\"?|'[^']*'?|[^\s&;,\"'}}]+)", rf"\1\2{MASK}"),
            (r"\b(bearer|jwt)\s+[a-z0-9._~+/=-]{8,}", rf"\1 {MASK}"),
            (r"\beyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?", MASK),
            (r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sk-|AKIA|ASIA)[\w-]{12,}", MASK),
            (r"[^\s@<>()\[\],;:\"']{1,64}@[^\s@<>()\[\],;:\"']{1,190}\.[^\s@<>()\[\],;:\"'.]{2,30}", MASK),
        )
    )


@cache
def _digits() -> re.Pattern[str]:
    return re.compile(
        r"\b\d{10}V\d{6}\b"  # integration control number
        r"|(?<!\d)\d{3}[- ]\d{2}[- ]\d{4}(?!\d)"  # social security number
        r"|(?<!\d)\(?\d{3}\)?[-. ]{1,2}\d{3}[-. ]\d{4}(?!\d)"  # telephone number
        r"|(?<!\d)\d{4}(?:[- ]\d{4}){2,4}(?!\d)"  # card number
        r"|(?<![A-Za-z0-9])[A-Za-z0-9]*\d{9,}[A-Za-z0-9]*",
        re.IGNORECASE,
    )


def _masked_digits(found: re.Match[str]) -> str:
    return found[0] if _HASH.fullmatch(found[0]) else MASK
