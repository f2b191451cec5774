"""Readers of a model's text take time in proportion to it: twice the text, about twice the time, whatever it holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import settings

from groupwise.output.masking import masked
from groupwise.output.printable import visible
from groupwise.rewards import answers, judge, programs, reasoning_gym
from groupwise.rewards.reading import conventions, endings, intervals, number_words, reader, structure, units
from groupwise.sources import equations
from groupwise.tokens import call_formats, calls
from groupwise.tokens.segmentation import Delimiter, Lines, Sentences
from groupwise.values.spelled import structure_of

READERS: dict[str, Callable[[str], object]] = {
    "calculations": equations.calculations,
    "calculations_hold": equations.calculations_hold,
    "sentences": Sentences().ends,
    "lines": Lines().ends,
    "paragraphs": Delimiter("\n\n").ends,
    "visible": visible,
    "masked": masked,
    "judge's grade": lambda text: judge.parse_score(text, 10.0),
    "program": programs.program,
    "submitted answer": reasoning_gym.submitted_answer,
    "final answer": lambda text: answers.final_answer(text, last_number=True),
    "number": answers.parse_number,
    "quantity": answers.parse_quantity,
    "marked answer": lambda text: reader.marked_answer(text, unmarked=True),
    "without thinking": structure.without_thinking,
    "hashes": lambda text: list(conventions.hashes(text)),
    "boxes": lambda text: list(conventions.boxes(text)),
    "tags": lambda text: list(conventions.tags(text)),
    "answer lines": lambda text: list(conventions.lines(text)),
    "final lines": lambda text: list(conventions.finals(text)),
    "phrases": lambda text: list(conventions.phrases(text)),
    "outputs": lambda text: list(conventions.outputs(text)),
    "units": lambda text: units.read_unit(text, is_apart=True),
    "numbers in words": number_words.number_in_words,
    "bounds in words": lambda text: intervals.bound_in_words(text, "x"),
    "spelled lists": structure_of,
    "endings": lambda text: list(endings.ending_spans(text)),
    "thoughts": calls.without_thoughts,
    **{f"calls of {each.name}": partial(calls.calls_in, written=each, types={}) for each in call_formats.FORMATS},
}
UNITS = [
    *(" ", "\t", "\n", "<", "<<", "<<1", "1", "a", "\\", "{", "}", "(", "[", ".", ". ", " . ", "#", "####"),
    *("#### 1\n", "$", "$$", "\\boxed{", "\\boxed{1}", "\\frac{", "\\text{", "<answer>", "</answer>", "<think>"),
    *("<answer>1</answer>", "</think>", "1,", "1.", "1. ", "-", "*", "**", "`", "```\n", "```python\n", "A:", "A: 1\n"),
    *("the answer is ", "x=", "\\\\", "^", "1/", "， ", "是", "答案是", "\\left(", "\\begin{matrix}", "&", "or "),
    *('"score":', '"score": 1', "1e", "://", "http://", "?key=", "sk-", "_", "final answer", "final ", "* ", "e.g."),
    *("选", "选 ", "ans", "结果 ", "答 "),
    *(
        "one ",
        "twenty ",
        "hundred and ",
        "third ",
        "kW h ",
        "/m",
        "m^{-2}",
        "\\mu ",
        "\\Omega ",
        "\\approx 5 ",
        "(a b) ",
    ),
    *("at least ", "or more ", "[['", "{'a': ", "out of 5 "),
    *("! ", "。", "\u202e", "a, ", "10%"),
    *(
        "<tool_call>",
        "</tool_call>",
        '<tool_call>{"',
        '<tool_call>{"name": "f"}</tool_call>',
        "<tool_call>f</tool_call>",
    ),
    *("<tool_call>[[", '<tool_call>{"a\\', "<tool_call>x", "<function=f>", "<function=f></function>", "<parameter=k>"),
    *("<function=f><parameter=k>", "</parameter>", "<tool_call>f<arg_key>k</arg_key><arg_value>", "<arg_key>"),
    *("[TOOL_CALLS]", "[TOOL_CALLS]f{}", "[TOOL_CALLS][", '[TOOL_CALLS]{"a": "', '{"name": "f", "parameters": {}};'),
    *(
        "<|python_tag|>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁call▁begin｜>f<｜tool▁sep｜>",
        "<｜tool▁sep｜>{}",
        "<|start|>",
    ),
    *("<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜>", "<|start|>assistant to=functions.f<|message|>{}"),
    *(
        "<|tool_call_begin|>",
        "<|tool_call_begin|>f:0<|tool_call_argument_begin|>{}<|tool_call_end|>",
        "<|tool_call|>[]",
    ),
]
FRAMES = (("", ""), (" ", "!"), ("1", ". "), ("\n", "\n"), ("选", "x"))
SMALL, FACTOR = 2_000, 8
GROWTH = 28.0
"""8 times the text may take so many times the time; a square would take 64 times."""
FREE = 0.025
"""Seconds of the processor below which nothing is compared."""


def texts(size: int) -> Iterator[str]:
    """Each unit alone and in one of the other frames, in turn; in each of them in the search of ``make faults``."""
    plain, *others = FRAMES
    wide = settings.get_current_profile_name() == "search"
    for number, unit in enumerate(UNITS):
        for before, after in FRAMES if wide else (plain, others[number % len(others)]):
            yield before + unit * (size // len(unit)) + after


def seconds(read: Callable[[str], object], text: str) -> float:
    """Of this process's own processor time, so that a busy machine changes little."""
    begun = time.process_time()
    read(text)
    return time.process_time() - begun


@pytest.mark.search
@pytest.mark.parametrize("name", READERS)
def test_eight_times_the_text_is_no_sixty_four_times_the_time(name: str) -> None:
    read = READERS[name]
    for small, large in zip(texts(SMALL), texts(SMALL * FACTOR), strict=True):
        taken = seconds(read, large)
        if taken < FREE:
            continue
        first = min(seconds(read, small) for _ in range(3))
        if taken >= max(GROWTH * first, FREE):
            taken = min(taken, seconds(read, large))  # a pause of the machine comes once
        assert taken < max(GROWTH * first, FREE), (small[:20], first, taken)


@pytest.mark.parametrize("text", [" A:!", " the answer is !", "the answer is the answer is !", "final answer: !"])
def test_a_phrase_with_nothing_behind_it_is_read(text: str) -> None:
    """No text of a model's is an error."""
    assert reader.marked_answer(text, unmarked=True) in (None, "", "!", "A")
