"""``groupwise chat``: streamed text, history, ways in, and what a terminal must never get."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warm import Process

from groupwise.cli import main
from groupwise.commands.conversation import Conversation, TextStream
from groupwise.commands.models import open_model
from groupwise.commands.side_by_side import Pair
from groupwise.errors import UserError
from groupwise.learners.loading import load_tokenizer
from groupwise.output.printable import visible
from groupwise.tasks.questions import Questions, read_questions
from groupwise.types import Completion, Request


class Scripted:
    """An engine that always says the same, a byte a token."""

    version, context_tokens = 0, 128

    def __init__(self, tokens: Sequence[int], finished: bool = True) -> None:
        self.tokens, self.finished = tuple(tokens), finished
        self.asked: list[tuple[int, ...]] = []

    def generate(self, requests: Sequence[Request], sampling, on_token=None) -> Iterator[tuple[int, int, Completion]]:
        self.asked.append(requests[0].tokens)
        for token in self.tokens:
            on_token(0, 0, token)
        yield 0, 0, Completion(self.tokens, (0.0,) * len(self.tokens), self.finished, 0)

    def load(self, weights, version) -> None:
        """Nothing to load."""


@pytest.fixture(scope="module")
def opened(tiny_model: Path):
    return open_model(str(tiny_model), device="cpu")


@pytest.fixture
def saying(opened):
    """``saying(text)``: a conversation with a model that answers with that text."""

    def make(text: str, label: str = "model", **options) -> Conversation:
        tokens = opened[1].tokenizer.encode(text, add_special_tokens=False)
        return Conversation(label, Scripted(tokens, **options), opened[1], max_tokens=64)

    return make


@pytest.fixture(scope="module")
def byte_tokenizer(tiny_model: Path):
    return load_tokenizer(tiny_model)


@given(text=st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=20))
def test_a_stream_gives_the_text_and_never_half_a_character(byte_tokenizer, text):
    stream = TextStream(lambda tokens: byte_tokenizer.decode(tokens))
    pieces = [stream.add(token) for token in byte_tokenizer.encode(text, add_special_tokens=False)]
    whole = "".join(pieces) + stream.end()
    assert whole == text
    assert all(piece in text for piece in pieces)


def test_a_character_comes_out_with_its_last_byte(byte_tokenizer):
    stream = TextStream(lambda tokens: byte_tokenizer.decode(tokens))
    pieces = [stream.add(token) for token in byte_tokenizer.encode("a😀é!", add_special_tokens=False)]
    assert pieces == ["a", "", "", "", "😀", "", "é", "!"]


def test_what_never_becomes_a_character_is_shown_at_the_end(byte_tokenizer):
    stream = TextStream(lambda tokens: byte_tokenizer.decode(tokens))
    first, *_ = byte_tokenizer.encode("😀", add_special_tokens=False)
    assert stream.add(first) == ""
    assert stream.end() == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext 😀 é", "plain\n\ttext 😀 é"),
        ("\x1b[2J\x1b]0;title\x07", "␛[2J␛]0;title␇"),
        ("a\rb\x08\x7f", "a␍b␈␡"),
        ("\x9b31m", "\ufffd31m"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
    ],
)
def test_control_characters_are_shown_and_not_obeyed(text, shown):
    assert visible(text) == shown


def test_the_conversation_grows(saying):
    conversation = saying("yes")
    heard: list[str] = []
    assert conversation.ask("one?", heard.append).text == "yes"
    assert heard == ["y", "e", "s", ""]
    conversation.ask("two?", heard.append)
    decode = conversation.renderer.tokenizer.decode
    assert decode(conversation.engine.asked[0]) == "<|user|>one?<|assistant|>"
    assert decode(conversation.engine.asked[1]) == "<|user|>one?<|assistant|>yes<|end|><|user|>two?<|assistant|>"
    conversation.reset()
    conversation.ask("three?", heard.append)
    assert decode(conversation.engine.asked[2]) == "<|user|>three?<|assistant|>"


def test_without_a_template_the_text_goes_on(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "plain")
    (tmp_path / "plain" / "chat_template.jinja").unlink()
    _, renderer = open_model(str(tmp_path / "plain"), device="cpu")
    engine = Scripted(renderer.tokenizer.encode(" upon a time", add_special_tokens=False))
    conversation = Conversation("plain", engine, renderer, max_tokens=16)
    conversation.ask("Once", lambda piece: None)
    conversation.ask("And", lambda piece: None)
    assert [renderer.tokenizer.decode(tokens) for tokens in engine.asked] == ["Once", "Once\n upon a time\nAnd"]


def test_ctrl_c_keeps_what_was_said(saying):
    conversation = saying("a long answer")

    def interrupt(piece: str) -> None:
        if piece == "l":
            raise KeyboardInterrupt

    answer = conversation.ask("go", interrupt)
    assert (answer.text, answer.end) == ("a l", "stopped")
    assert conversation.messages[-1] == {"role": "assistant", "content": "a l"}


def test_an_answer_that_is_cut_says_so(saying):
    assert saying("so", finished=False).ask("?", lambda piece: None).end == "truncated"


def test_too_long_a_conversation_stays_as_it_was(saying):
    conversation = saying("x")
    conversation.ask("hello", lambda piece: None)
    before = list(conversation.messages)
    with pytest.raises(UserError, match=r"^model: the conversation has \d+ tokens, and its context of 128 leaves"):
        conversation.ask("x" * 200, lambda piece: None)
    assert conversation.messages == before


def test_a_byte_that_is_no_text_is_replaced(saying):
    conversation = saying("x")
    conversation.ask("a\udcffb", lambda piece: None)
    assert conversation.messages[0]["content"] == "a?b"


def test_a_real_model_draws_the_same_again(opened):
    def answers(seed: int) -> list[str]:
        conversation = Conversation("tiny", *opened, max_tokens=12, seed=seed)
        return [conversation.ask(word, lambda piece: None).text for word in ("one", "two")]

    assert answers(0) == answers(0)
    assert answers(0) != answers(1)


def test_two_answer_at_once(saying):
    pair = Pair([saying("left"), saying("right")])
    assert [answer.text for answer in pair.ask("?", None)] == ["left", "right"]
    assert pair.texts == ["left", "right"]


def test_both_can_be_stopped(saying):
    pair = Pair([saying("left"), saying("right")])
    pair.stop.set()
    assert [(answer.text, answer.end) for answer in pair.ask("?", None)] == [("l", "stopped"), ("r", "stopped")]


def test_two_columns(saying, capsys):
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, width=60, force_terminal=True, color_system=None)
    Pair([saying("before\x1b[2J", "sft"), saying("after " * 9, "grpo")]).ask("?", console)
    shown = out.getvalue().split("\x1b[2K")[-1]  # what stays when the live display has gone
    assert "sft" in shown
    assert "grpo" in shown
    assert "before␛[2J" in shown
    assert shown.count("after") == 9
    assert max(len(line) for line in shown.splitlines() if "\x1b" not in line) <= 60


def test_an_error_of_one_is_the_errors_of_both(saying):
    with pytest.raises(UserError, match="leaves no room"):
        Pair([saying("a"), saying("b")]).ask("x" * 200, None)


def test_one_answer(tiny_model, capsys):
    words = ["chat", str(tiny_model), "--prompt", "1 + 1 = ?", "--max_completion_tokens", "8"]
    assert main(words) == 0
    first = capsys.readouterr()
    assert first.out.endswith("\n")
    assert "\x1b" not in first.out
    assert first.err in ("", "(model: truncated)\n")
    assert main(words) == 0
    assert capsys.readouterr().out == first.out


def test_ctrl_c_ends_a_command_that_is_no_dialogue(tiny_model, capsys, monkeypatch):
    def interrupted(self, requests, sampling, on_token=None):
        on_token(0, 0, requests[0].tokens[1])
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("groupwise.engines.cpp.CppEngine.generate", interrupted)
    monkeypatch.setattr("groupwise.engines.agreement.gap", lambda engine, model: "")
    assert main(["chat", str(tiny_model), "--prompt", "hi"]) == 130
    shown = capsys.readouterr()
    assert shown.out == "h\n"
    assert shown.err.splitlines() == ["(model: stopped)", "groupwise chat: interrupted"]


def test_a_pipe_is_answered_line_by_line(tiny_model, capsys, monkeypatch):
    lines = "one\n\n/new\none\n/exit\nnever asked\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    words = ["chat", str(tiny_model), "--against", str(tiny_model), "--max_completion_tokens", "6"]
    assert main(words) == 0
    answers = capsys.readouterr().out.split("[model]\n")[1:]
    assert len(answers) == 4
    assert len(set(answers)) == 1  # the same model, the same seed, the same words


def test_a_dialogue(tiny_model, capsys, monkeypatch):
    said = iter(["one", "x" * 300, "", "/reset", "two"])

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def typed(prompt: str) -> str:
        try:
            return next(said)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", typed)
    assert main(["chat", str(tiny_model), "--max_completion_tokens", "4"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("model: Ctrl-C stops an answer, /new forgets what was said, Ctrl-D or /exit")
    assert "Forgotten." in shown.out
    assert "leaves no room for an answer; say less, or start anew with /new" in shown.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--prompt", "x" * 300], "leaves no room for an answer"),
        (["--prompt", ""], "--prompt is empty; expected a question"),
        (["--prompt", "  "], "--prompt is empty"),
        (["--temperature", "-1"], "--temperature is -1.0; expected a number, at least 0"),
        (["--temperature", "nan"], "--temperature is nan; expected a number, at least 0"),
        (["--max_completion_tokens", "0"], "--max_completion_tokens is 0; expected a whole number, at least 1"),
    ],
)
def test_a_mistake_is_one_line(tiny_model, capsys, words, line):
    assert main(["chat", str(tiny_model), *words]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert line in error


def test_in_a_terminal(tiny_model):
    """A real pseudo-terminal: a prompt, an answer, and Ctrl-D leaves."""
    ours, theirs = pty.openpty()
    words = ["-m", "groupwise.cli", "chat", str(tiny_model), "--max_completion_tokens", "5"]
    process = Process(words, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        assert ">>> " in read_until(ours, ">>> ")
        os.write(ours, b"hello\n")
        assert "hello" in read_until(ours, ">>> ")
        os.write(ours, b"\x04")
        assert process.wait(timeout=1200) == 0
    finally:
        process.kill()
        os.close(ours)


def read_until(terminal: int, end: str, seconds: float = 600) -> str:
    text, deadline = "", time.monotonic() + seconds
    while end not in text and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            text += os.read(terminal, 4096).decode("utf-8", "replace")
    return text


def test_a_stop_string_ends_an_answer(tiny_model, capsys):
    words = ["chat", str(tiny_model), "--prompt", "1 + 1 = ?", "--temperature", "1", "--seed", "3"]
    words += ["--max_completion_tokens", "40"]
    assert main(words) == 0
    whole = capsys.readouterr().out.rstrip("\n")
    stop = next(letter for letter in whole if letter.isascii() and letter.isprintable())
    assert main([*words, "--stop", stop]) == 0
    assert capsys.readouterr().out.rstrip("\n") == whole[: whole.index(stop) + 1]


def test_a_choice_narrowed_to_one_token_is_the_greedy_one(tiny_model, capsys):
    said = []
    for words in (["--temperature", "0"], ["--top_k", "1"], ["--min_p", "1"], ["--top_p", "1e-9"]):
        assert main(["chat", str(tiny_model), "--prompt", "2 + 2 = ?", "--max_completion_tokens", "8", *words]) == 0
        said.append(capsys.readouterr().out)
    assert len(set(said)) == 1


def test_two_values_for_one_option_are_refused(tiny_model, capsys):
    assert main(["chat", str(tiny_model), "--temperature", "0", "--temperature", "1"]) == 2
    assert "--temperature is given twice, as 0 and as 1; expected once" in capsys.readouterr().err


def test_what_the_template_is_told_reaches_both_models(tiny_model, monkeypatch):
    from groupwise.commands import models

    told, real = [], models.open_model

    def noted(*arguments, template_arguments=None, **options):
        told.append(template_arguments)
        return real(*arguments, template_arguments=template_arguments, **options)

    monkeypatch.setattr(models, "open_model", noted)
    words = ["--prompt", "2", "--max_completion_tokens", "2", "--chat.enable_thinking", "false", "--chat.effort=low"]
    main(["chat", str(tiny_model), "--against", str(tiny_model), *words])  # whose prompts have no template
    assert told == [{"enable_thinking": False, "effort": "low"}] * 2


@pytest.fixture
def trained(tiny_model: Path, tmp_path: Path) -> Path:
    """A model that a run left, of single questions."""
    from groupwise.tasks.task import Task
    from groupwise.types import Example

    rows = [Example("row:0", "1 + 1 = ?", answer="2"), Example("row:1", ({"role": "user", "content": "x"},))]
    task = Task("sums", rows, held_out=[Example("row:2", "3 + 4 = ?", answer="7")], system="Calculate.")
    shutil.copytree(tiny_model, tmp_path / "left")
    (tmp_path / "left" / "groupwise_run.json").write_text(json.dumps(Questions.of(task).record()))
    return tmp_path / "left"


def test_a_model_of_single_questions_is_asked_each_line_afresh(trained, capsys, monkeypatch):
    from groupwise.commands import conversation

    seen = []
    drawn = conversation.Conversation._draw
    monkeypatch.setattr(
        conversation.Conversation,
        "_draw",
        lambda self, tokens, *rest: (seen.append(self.renderer.tokenizer.decode(tokens)), drawn(self, tokens, *rest))[
            1
        ],
    )
    for words in ([], ["--remember"]):
        monkeypatch.setattr(sys, "stdin", io.StringIO("one\none\n"))
        assert main(["chat", str(trained), "--max_completion_tokens", "4", *words]) == 0
    afresh, again, first, second = seen
    assert afresh == again == first == "<|system|>Calculate.<|user|>one<|assistant|>"
    assert second.startswith("<|system|>Calculate.<|user|>one<|assistant|>")
    assert second.endswith("<|user|>one<|assistant|>")
    assert len(second) > len(first)


def test_the_likeliest_token_unless_asked_otherwise(trained, capsys):
    answers = []
    for words in (["--seed", "1"], ["--seed", "2"], ["--seed", "2", "--temperature", "1"]):
        assert main(["chat", str(trained), "--prompt", "one", "--max_completion_tokens", "12", *words]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] != answers[2]


def test_it_says_what_it_can_be_asked(trained, capsys, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def leaves(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", leaves)
    assert main(["chat", str(trained)]) == 0
    shown = capsys.readouterr().out
    assert "It can be asked, for example: 3 + 4 = ? (right: 7)\n" in shown
    assert "It was trained on single questions, so each line is a conversation of its own" in shown


def asked_otherwise(tiny_model: Path, tmp_path: Path, **task: object) -> Path:
    """A model that a run left which asked it in a way of its own."""
    from groupwise import OnPolicy
    from groupwise.tasks.task import Task
    from groupwise.types import Example

    rows = [
        Example(f"row:{n}", ({"role": "user", "content": text}, {"role": "assistant", "content": "So"}))
        for n, text in enumerate(("x", "y"))
    ]
    shutil.copytree(tiny_model, tmp_path / "left", dirs_exist_ok=True)
    kept = Questions.of(Task("sums", rows, **task), OnPolicy(temperature=0.6)).record()  # type: ignore[arg-type]
    kept["chat_template"] = {"arguments": {"enable_thinking": False}}
    (tmp_path / "left" / "groupwise_run.json").write_text(json.dumps(kept))
    template = tmp_path / "left" / "chat_template.jinja"
    template.write_text("{% set told = enable_thinking %}" + template.read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path / "left"


@pytest.mark.parametrize(
    ("words", "system", "stops", "told"),
    [
        ([], "Calculate.", ("</a>", "\n\n"), ["the system message 'Calculate.'", "also end with '</a>', '\\n\\n'"]),
        (["--system", "Be brief."], "Be brief.", ("</a>", "\n\n"), ["also end with '</a>'"]),
        (["--system", ""], None, ("</a>", "\n\n"), ["also end with '</a>'"]),
        (["--stop", "!"], "Calculate.", ("!",), ["the system message 'Calculate.'"]),
        (["--stop", ""], "Calculate.", (), ["the system message 'Calculate.'"]),
        (["--system", "", "--stop", ""], None, (), []),
    ],
)
@pytest.mark.parametrize("command", ["chat", "evaluate"])
def test_a_model_is_asked_as_it_was_trained(
    command, words, system, stops, told, tiny_model, tmp_path, capsys, monkeypatch
):
    """What is recalled is told in a line, and what the user says goes before it, part by part."""
    from groupwise.tokens.renderer import Renderer

    seen = []
    real = Renderer.sampling
    monkeypatch.setattr(
        Renderer, "sampling", lambda self, *rest, **more: (seen.append(self), real(self, *rest, **more))[1]
    )
    left = asked_otherwise(tiny_model, tmp_path, system="Calculate.", stop_strings=("</a>", "\n\n"))
    few = ["--max_completion_tokens", "4"]
    if command == "chat":
        assert main(["chat", str(left), "--prompt", "1 + 1 = ?", *few, *words]) == 0
    else:
        few += ["--problems", "2", "--sampled_problems", "0", "--samples", "1"]
        assert main(["evaluate", str(left), "--task", "stepwise:1", *few, *words]) == 0
    assert {(renderer.system, renderer.stop_strings) for renderer in seen} == {(system, stops)}
    assert {renderer.template_arguments["enable_thinking"] for renderer in seen} == {False}
    shown = capsys.readouterr()
    (line,) = [line for line in shown.err.splitlines() if "asked as in training" in line]
    assert "enable_thinking False" in line
    assert all(part in line for part in told)
    assert ("system message" in line, "also end with" in line) == (
        any("system" in part for part in told),
        any("also end" in part for part in told),
    )
    if command == "chat":
        assert shown.out.startswith("So")  # as every answer was begun in training
    else:
        assert "left: in training it sampled at temperature 0.6" in shown.err


def test_a_model_from_elsewhere_is_asked_as_it_comes(tiny_model, capsys):
    assert main(["chat", str(tiny_model), "--prompt", "1 + 1 = ?", "--max_completion_tokens", "4"]) == 0
    assert "asked as in training" not in capsys.readouterr().err


def test_what_a_model_was_asked(tmp_path):
    from groupwise.tasks.task import Task
    from groupwise.types import Example

    turns = tuple({"role": role, "content": role} for role in ("user", "assistant", "user"))
    assert not Questions.of(Task("talk", [Example("a", "one"), Example("b", turns)])).single
    behind = ({"role": "system", "content": "s"}, {"role": "user", "content": "q"})
    assert Questions.of(Task("one", [Example("b", behind)])) == Questions(True, "q")
    assert Questions.of(Task("none", ())) == Questions()
    assert read_questions(str(tmp_path)) == Questions()
    for text in ("", "[]", '{"asked": {"other": 1}}'):
        (tmp_path / "groupwise_run.json").write_text(text)
        assert read_questions(str(tmp_path)) == Questions()
