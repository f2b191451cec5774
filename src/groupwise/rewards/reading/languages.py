"""This module says how an answer is announced in the languages of MGSM and their neighbours, English and Chinese apart:
``Die Antwort ist 18.``, ``Ответ: 18``, ``答えは18です。``."""

from __future__ import annotations

import re

ANNOUNCED = (
    r"\b(?:antwort|réponse|respuesta|risposta|resposta|antwoord|odpowiedź|svar|jibu|ответ|відповідь)(?!\w)"
    r"|答え|정답|답(?=\s*[:：은])|คำตอบ|উত্তর|సమాధానం|उत्तर|الإجابة|الجواب"
)
"""The word for the answer, as part of a pattern that ignores case."""
AFTER = re.compile(
    r"[*_`]{0,4}\s{0,3}(?:(?:finale|final|définitive|correcta|correta|richtige)\s)?"
    r"(?:(?:ist|lautet|beträgt|est|es|è|é|is|är|er|ni|to|هي|هو|คือ|হল|হলো|है)(?!\w)|[:：=—–]|は|은|는|-(?=\s))\s{0,3}[:：]?",
    re.IGNORECASE,
)
"""What stands between that word and the answer."""
COURTESY = re.compile(r"(?:です|だ|である|となります|になります|입니다|이다|이에요|예요)(?=$|[.。、,!\s])")
"""A verb behind an answer that says no more than ``is``."""


def without_courtesy(line: str) -> str:
    """Returns ``18個`` of ``18個です。``."""
    return line if line.isascii() else COURTESY.sub("", line, count=1)
