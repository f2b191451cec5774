"""This module brings times and dates into one way of writing: ``2:30 p.m.`` and ``14:30``, ``May 5th, 2021`` and
``2021-05-05``."""

from __future__ import annotations

import re

AFTERNOON = " h"
"""Ends a time that is said to be after noon: ``14:30`` alone may be a ratio."""
MORNING = " am"
"""Ends a time that is said to be before noon."""
_MONTHS_TEXT = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?"
    "|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
_NUMBERS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], start=1
    )
}
_CLOCK = re.compile(
    r"(?P<hour>[0-2]?[0-9])(?:\s?:\s?(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9]))?)?\s*(?P<half>[aApP])\.?\s?[mM]\.?"
    r"|(?P<hours>[0-2]?[0-9])(?::(?P<minutes>[0-5][0-9])(?::(?P<seconds>[0-5][0-9]))?|点(?P<past>[0-5]?[0-9])分)"
)
_PART_OF_DAY = re.compile(r"(?<=[0-9]) in the (?:morning|afternoon|evening)$", re.IGNORECASE)
_NAMED = re.compile(
    rf"(?P<month>{_MONTHS_TEXT})\.?\s+(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(?P<year>[0-9]{{4}}))?"
    rf"|(?P<first>[0-9]{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<named>{_MONTHS_TEXT})\.?(?:,?\s+(?P<then>[0-9]{{4}}))?",
    re.IGNORECASE,
)
_ISO = re.compile(r"(?P<year>[0-9]{4})(?P<mark>[-/.])(?P<month>[0-9]{1,2})(?P=mark)(?P<day>[0-9]{1,2})")
_CHINESE = re.compile(
    r"(?P<year>[0-9]{4})年(?:(?P<month>[0-9]{1,2})月(?:(?P<day>[0-9]{1,2})[日号]?)?)?"
    r"|(?P<later>[0-9]{1,2})月(?P<number>[0-9]{1,2})[日号]?"
)
_NUMERIC = re.compile(r"(?P<one>[0-9]{1,2})/(?P<two>[0-9]{1,2})/(?P<year>[0-9]{2}(?:[0-9]{2})?)")


def moment(text: str) -> str | None:
    """Returns a time of the day or a date in its one spelling, None of any other text.

    ``2:30 PM`` is ``14:30``; what may be before or after noon stays as it is, and so does the order of ``5/4/2021``.
    """
    text = _PART_OF_DAY.sub(lambda said: " am" if "morning" in said[0].lower() else " pm", " ".join(text.split()))
    if match := _CLOCK.fullmatch(text):
        return _clock(match)
    if match := _NAMED.fullmatch(text):
        month = _NUMBERS[(match["month"] or match["named"])[:3].lower()]
        return _date(match["year"] or match["then"], month, match["day"] or match["first"])
    if match := _ISO.fullmatch(text):
        return _date(match["year"], int(match["month"]), match["day"])
    if match := _CHINESE.fullmatch(text):
        if match["later"]:
            return _date(None, int(match["later"]), match["number"])
        parts = (match["year"], match["month"], match["day"])
        return "-".join(f"{int(part):02d}" for part in parts if part)
    if match := _NUMERIC.fullmatch(text):
        return f"{int(match['one'])}/{int(match['two'])}/{match['year']}"
    return None


def same_time(reference: str, answer: str) -> bool:
    """Says whether both are one time, where a reference that does not say which half of the day it means may be of
    either."""
    one, other = (text.removesuffix(AFTERNOON).removesuffix(MORNING) for text in (reference, answer))
    if one != other and reference == one and answer != other:
        hour, colon, rest = other.partition(":")
        return bool(colon) and one == f"{int(hour) % 12 or 12}:{rest}"
    return one == other


def _clock(match: re.Match[str]) -> str | None:
    hour = int(match["hour"] or match["hours"])
    minute = match["minute"] or match["minutes"] or (match["past"] or "").rjust(2, "0")
    second = match["second"] or match["seconds"]
    if hour > 24 or (match["half"] and not 1 <= hour <= 12):
        return None
    rest = f":{minute}:{second}" if second else f":{minute}"
    if not match["half"]:
        return f"{hour}{rest}"
    return f"{hour % 12 + 12}{rest}{AFTERNOON}" if match["half"] in "pP" else f"{hour % 12}{rest}{MORNING}"


def _date(year: str | None, month: int, day: str) -> str:
    return f"{year}-{month:02d}-{int(day):02d}" if year else f"{month:02d}-{int(day):02d}"
