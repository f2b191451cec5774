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

from groupwise.corpus.unmarked_text import values_with_escapes, without_html, without_latex, without_marks

MOST_ESCAPES = 5
UNICODE_ESCAPED = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
CODE_POINT = re.compile(r"\\u\{([0-9a-fA-F]{1,6})\}|U\+([0-9A-F]{4,6})(?:\s(?=U\+)|\b)|\\(00[0-9a-fA-F]{4})\s?")
"""A letter as JavaScript, Unicode's own tables, and style sheets write it."""
BYTES_ESCAPED = re.compile(
    r"(?:\\[0-3][0-7]{2}){2,}|(?:\\x[0-9a-fA-F]{2})+|(?:%[0-9a-fA-F]{2})+|(?:=[0-9A-F]{2}(?:=\r?\n)?){3,}"
)
"""Bytes of UTF-8 as a program, an address or a mail writes them."""
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""What Unicode says to show as nothing."""
HYPHENATED = re.compile(r"(?<=\w)[-\u2010\u2011][^\S\n]*\n\s*(?=\w)")
ACCENTS = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")
COUNTED = re.compile("([\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2079\u2080-\u2089\u2150-\u215f])")
"""Raised and lowered digits and fractions: they are no digits of the number before them."""
LOOK_ALIKES: dict[int, int | str | None] = {
    **str.maketrans("АаВвЕеКкМмНнОоРрСсТтУуХхІіЈјЅѕӀӏԁһԛԝοΟ", "AaBbEeKkMmHhOoPpCcTtYyXxIiJjSsIldhqwoO"),
    **str.maketrans("ΑΒΕΖΗΙΚΜΝΡΤΥΧαινρυκ", "ABEZHIKMNPTYXaivpuk"),
    **str.maketrans("ոսօհցոզԼՏԱ", "nuohgnqLSU"),
    **str.maketrans("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnopqrstuvwyz"),
    **str.maketrans("łŁđĐħĦıøØŧŦƀɑɡıȷɩⅼ", "lLdDhHioOtTbagijil"),
    **str.maketrans("ᎪᏴᏟᎠᎬᎻᎫᏦᏞᎷᏢᏒᏚᎢᏙᎳᏃ", "ABCDEHJKLMPRSTVWZ"),
    **{first + place: chr(ord("A") + place) for first in (0x1F150, 0x1F170, 0x1F1E6) for place in range(26)},
    0x2800: " ",
}
"""Letters that look like Latin ones: Cyrillic, Greek, Armenian, small capitals, with a stroke, Cherokee, in dark
circles and squares."""


def plain(text: str) -> str:
    """Returns the text without what can hide it."""
    text += values_with_escapes(text) if "&" in text and "<" in text else ""
    for _ in range(MOST_ESCAPES):
        resolved = html.unescape(text) if "&" in text else text
        if resolved == text:
            break
        text = resolved
    if "%" in text or "\\" in text or "=" in text:
        text = BYTES_ESCAPED.sub(_bytes_resolved, text)
    if "<" in text:
        text = without_html(text)
    if "\\" in text or "U+" in text:
        text = CODE_POINT.sub(_point_resolved, text)
    if "\\" in text:
        text = _backslashes_resolved(text)
    text = without_marks(text)
    if not text.isascii():
        text = _folded(text)
    if "-" in text or "\u2010" in text:
        text = HYPHENATED.sub("", text)
    return text.casefold()


def compatible(text: str) -> str:
    """Returns the text with Unicode's compatibility forms and case made plain, and nothing else."""
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold()


def _bytes_resolved(found: re.Match[str]) -> str:
    """Bytes that are UTF-8 as text; a letter or digit alone stays as it is."""
    if found[0][0] == "\\" and found[0][1] != "x":
        return bytes(int(each, 8) for each in found[0].split("\\")[1:]).decode("utf-8", "replace")
    code = bytes.fromhex(re.sub(r"[^0-9a-fA-F]", "", found[0].replace("\\x", "")))
    if found[0].startswith("%") and len(code) == 1 and code.isalnum():
        return found[0]  # "5%20 times" is an address, "50%50" is none
    try:
        return code.decode()
    except UnicodeDecodeError:
        return found[0]


def _backslashes_resolved(text: str) -> str:
    text = UNICODE_ESCAPED.sub(_unicode_resolved, text)
    text = without_latex(text.replace("\\\r\n", "").replace("\\\n", ""))
    return text.replace("\\n", "\n").replace("\\t", " ").replace("\\r", " ")


def _point_resolved(found: re.Match[str]) -> str:
    code = int(found[1] or found[2] or found[3], 16)
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else found[0]


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
