"""This module makes text plain: whatever hides a text from a search by words, and changes none of them, goes.

Escapes are resolved (HTML's entities however often, JSON's, those of addresses and of bytes), markup and LaTeX's
formatting go, compatibility forms (full-width letters, ligatures, digits of other scripts) become plain ones, letters
of other alphabets that look like Latin ones become these, accents and invisible characters go, and case is dropped.
Every step is the same for both sides of a comparison, and linear in the length of the text.
"""

from __future__ import annotations

import html
import re
import unicodedata

MOST_ESCAPES = 5
INLINE = re.compile(
    r"</?(?:a|abbr|b|bdi|bdo|big|cite|code|em|font|i|ins|kbd|mark|q|s|small|span|strike|strong|sub|sup|tt|u|var|wbr)"
    r"(?:\s(?:[^<>\"']|\"[^\"<]*\"|'[^'<]*'|[\"'])*+)?/?>",
    re.IGNORECASE,
)
"""Markup inside words and lines: what it divides belongs together."""
MARKUP = re.compile(r"</?[a-zA-Z](?:[^<>\"']|\"[^\"<]*\"|'[^'<]*'|[\"'])*+>")
UNICODE_ESCAPED = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
BYTES_ESCAPED = re.compile(r"(?:\\x[0-9a-fA-F]{2})+|(?:%[0-9a-fA-F]{2})+|(?:=[0-9A-F]{2}(?:=\r?\n)?){3,}")
"""Bytes of UTF-8 as a program, an address or a mail writes them."""
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""What Unicode says to show as nothing."""
HYPHENATED = re.compile(r"(?<=\w)[-\u2010\u2011][^\S\n]*\n\s*(?=\w)")
FORMATTING = re.compile(
    r"\\(?:text(?:bf|it|rm|tt|sf|sc|normal|style)?|math(?:bf|rm|it|sf|tt|bb|cal|frak|scr|normal)|operatorname|mbox|hbox"
    r"|emph|underline|boldsymbol|bm|bf|it|rm|[dtc]?frac|displaystyle|left|right|[bB]igg?[lr]?|q?quad|times|cdot|div|pm|mp"
    r"|leq?|geq?|neq?|approx|equiv|to|rightarrow|circ|degree)(?![a-zA-Z])"
)
"""Commands of LaTeX in whose place plain text has a sign or nothing."""
ACCENTS = re.compile("[\u0300-\u036f]")
COUNTED = re.compile("([\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2079\u2080-\u2089\u2150-\u215f])")
"""Raised and lowered digits and fractions: they are no digits of the number before them."""
LOOK_ALIKES = str.maketrans(
    "АаВвЕеКкМмНнОоРрСсТтУуХхІіЈјЅѕӀӏԁһԛԝοΟ",
    "AaBbEeKkMmHhOoPpCcTtYyXxIiJjSsIldhqwoO",
)


def plain(text: str) -> str:
    """Returns the text without what can hide it."""
    for _ in range(MOST_ESCAPES):
        resolved = html.unescape(text) if "&" in text else text
        if resolved == text:
            break
        text = resolved
    if "%" in text or "\\x" in text or "=" in text:
        text = BYTES_ESCAPED.sub(_bytes_resolved, text)
    if "<" in text:
        text = MARKUP.sub(" ", INLINE.sub("", _without_comments(text)))
    if "\\" in text:
        text = _backslashes_resolved(text)
    if not text.isascii():
        text = _folded(text)
    if "-" in text or "\u2010" in text:
        text = HYPHENATED.sub("", text)
    return text.casefold()


def compatible(text: str) -> str:
    """Returns the text with Unicode's compatibility forms and case made plain, and nothing else."""
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold()


def _without_comments(text: str) -> str:
    """Leaves out ``<!-- -->``. A pattern would look for the end of each comment anew where there is none."""
    kept, start = [], 0
    while (begin := text.find("<!--", start)) >= 0 and (end := text.find("-->", begin)) >= 0:
        kept.append(text[start:begin])
        start = end + 3
    return "".join([*kept, text[start:]])


def _bytes_resolved(found: re.Match[str]) -> str:
    """Bytes that are UTF-8 as text; a letter or digit alone stays as it is."""
    code = bytes.fromhex(re.sub(r"[^0-9a-fA-F]", "", found[0].replace("\\x", "")))
    if found[0].startswith("%") and len(code) == 1 and code.isalnum():
        return found[0]  # "5%20 times" is an address, "50%50" is none
    try:
        return code.decode()
    except UnicodeDecodeError:
        return found[0]


def _backslashes_resolved(text: str) -> str:
    text = UNICODE_ESCAPED.sub(_unicode_resolved, text)
    text = FORMATTING.sub(" ", text.replace("\\\r\n", "").replace("\\\n", ""))
    return text.replace("\\n", "\n").replace("\\t", " ").replace("\\r", " ")


def _unicode_resolved(found: re.Match[str]) -> str:
    units = b"".join(int(code, 16).to_bytes(2, "big") for code in found[0].split("\\u")[1:])
    return units.decode("utf-16-be", "replace")


def _folded(text: str) -> str:
    """Unicode's compatibility forms as plain ones, digits of every script as ASCII's, without what is not seen."""
    text = unicodedata.normalize("NFKC", INVISIBLE.sub("", COUNTED.sub(r" \1", text)))
    decomposed = unicodedata.normalize("NFD", text)
    if ACCENTS.search(decomposed):
        text = unicodedata.normalize("NFC", ACCENTS.sub("", decomposed))
    digits = {
        ord(each): str(unicodedata.decimal(each)) for each in set(text) if not each.isascii() and each.isdecimal()
    }
    return INVISIBLE.sub("", text.translate(LOOK_ALIKES).translate(digits) if digits else text.translate(LOOK_ALIKES))
