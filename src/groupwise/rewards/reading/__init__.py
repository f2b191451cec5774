"""This package finds the answer of a text and what it says, in four steps, each a module.

``structure`` (thinking blocks are left out) -> ``conventions`` and ``endings`` (where the answer stands) -> ``parsing``
(which of ``values`` it is: a number with a unit, a choice, a list, words, a formula; ``quantities`` and ``units``
read the numbers, ``notation`` undoes what is only looks) -> ``equality`` (exact, here, or by ``algebra`` in a process
that can be killed). ``spans`` and ``reader`` put them together for completions, ``references`` for a row's answer.
Standard library
only but for ``algebra``; nothing of a text is evaluated, and time is linear in a capped text.
"""

from __future__ import annotations
