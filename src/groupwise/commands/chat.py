"""This is ``groupwise chat``: a person talks to a model in the terminal, token by token, or to two side by side; or a
task's environment talks to it."""

from __future__ import annotations

import io
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from groupwise.commands.parser import parser
from groupwise.commands.prompt_options import add_sampling, refuse_narrowed, split_arguments, trained_options
from groupwise.config.ranges import refuse_number
from groupwise.errors import UserError
from groupwise.output.printable import visible

if TYPE_CHECKING:
    from groupwise.commands.conversation import Answer, Conversation

EXAMPLES = """  groupwise chat runs/quickstart/models/grpo
  groupwise chat runs/quickstart/models/grpo --against runs/quickstart/models/sft --temperature 1
  groupwise chat PATH --prompt "12 + 30 - 4 = ?"
  groupwise chat PATH --system "Answer briefly." < questions.txt
  groupwise chat PATH --task guess.py           (the file's environment talks with the model)
  groupwise chat PATH --task guess.py --me      (you play the model)

A model that was trained on single questions is asked each line afresh; --remember keeps them together.
Ctrl-C stops an answer. /new (or /reset) forgets what was said. Ctrl-D or /exit leaves."""

PROMPT = ">>> "
FORGET = ("/new", "/reset")
SHOWN_LETTERS = 200  # of an example


def execute(arguments: Sequence[str]) -> int:
    """Talks until the user leaves."""
    said, arguments = split_arguments(arguments)
    chosen = _parser().parse_args(arguments)
    refuse_narrowed(chosen)
    refuse_number("--temperature", chosen.temperature, "[0, inf)")
    refuse_number("--max_completion_tokens", chosen.max_completion_tokens, "[1, inf)", whole=True)
    if chosen.prompt is not None and not chosen.prompt.strip():
        raise UserError("--prompt is empty; expected a question, such as --prompt '12 + 30 - 4 = ?'")
    if chosen.task is not None:
        from groupwise.commands.chat_task import play_task

        play_task(chosen, said)
        return 0
    if chosen.me or chosen.row:
        raise UserError(f"--{'me' if chosen.me else 'row'} goes with --task FILE.py, whose environment talks")
    conversations = _open(chosen, said)
    if chosen.prompt is not None:
        _answer_once(conversations, chosen.prompt)
    elif sys.stdin.isatty():
        _talk(conversations, _introduced(chosen))
    else:
        _follow(conversations, _piped())
    return 0


def _parser() -> ArgumentParser:
    summary = "Talk to a model in the terminal, token by token; --against another, side by side."
    known = parser("chat", summary, EXAMPLES, "groupwise chat MODEL [--against OTHER] [options]")
    known.add_argument("model", metavar="MODEL", help="a model directory or hub name")
    known.add_argument(
        "--against", metavar="OTHER", help="a second model, such as the one before training, on the left"
    )
    known.add_argument("--task", metavar="FILE.py", help="its task's environment or tools talk with the model")
    known.add_argument("--me", action="store_true", help="with --task: you answer in the model's place")
    known.add_argument("--row", type=int, metavar="N", default=0, help="with --task: which held-out row, or row (0)")
    known.add_argument("--prompt", metavar="TEXT", help="one answer, then exit; without it and with a pipe, one a line")
    known.add_argument(
        "--system", metavar="TEXT", help="a system message before the conversation (the one it was trained with)"
    )
    add_sampling(known)
    known.add_argument(
        "--remember", action="store_true", help="one growing conversation, also with a model of single questions"
    )
    known.add_argument("--temperature", type=float, metavar="X", default=0.0, help="0: always the likeliest token (0)")
    known.add_argument(
        "--max_completion_tokens", type=int, metavar="N", default=512, help="an answer is cut there (512)"
    )
    known.add_argument(
        "--seed", type=int, metavar="N", default=0, help="the same seed and words give the same answers (0)"
    )
    known.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: cuda where there is one"
    )
    known.add_argument("--dtype", choices=("float32", "bfloat16", "float64"), default="float32", help="of the weights")
    return known


def _open(chosen: Namespace, said: dict[str, Any]) -> list[Conversation]:
    from groupwise.commands.conversation import Conversation
    from groupwise.commands.models import labels, open_model

    sources = [source for source in (chosen.against, chosen.model) if source]
    conversations = []
    for source, label in zip(sources, labels(*sources), strict=True):
        known = trained_options(source, chosen.system, chosen.stop)
        opened = open_model(
            source, chosen.device, chosen.dtype, known.system or None, known.chat, template_arguments=said
        )
        engine, renderer = opened[0], replace(opened[1], stop_strings=known.stop_strings)
        tokens, temperature, remembers = chosen.max_completion_tokens, chosen.temperature, not known.single
        narrowed = chosen.top_k, chosen.top_p, chosen.min_p
        conversation = Conversation(label, engine, renderer, tokens, temperature, chosen.seed, narrowed)
        conversation.remembers, conversation.begun = chosen.remember or remembers, known.begun
        conversations.append(conversation)
    return conversations


def _piped() -> Iterator[str]:
    """Yields the lines of standard input that are not blank, each as soon as it is there."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    for line in iter(sys.stdin.readline, ""):
        if line.strip():
            yield line.strip("\r\n")


def _answer_once(conversations: Sequence[Conversation], said: str) -> None:
    """Answers one message without a dialogue around it: an error ends the command, and so does Ctrl-C."""
    answers = _answer(conversations, said)
    if any(answer.end == "stopped" for answer in answers):
        raise KeyboardInterrupt


def _introduced(chosen: Namespace) -> Iterator[str]:
    """Yields what the model was asked in training, with an example from its held-out rows."""
    from groupwise.tasks.questions import read_questions

    known = read_questions(chosen.model)
    if known.example:
        right = f" (right: {known.answer})" if known.answer else ""
        yield visible(f"It can be asked, for example: {' '.join(known.example.split())[:SHOWN_LETTERS]}{right}")
    if known.single:
        kept = "and all lines are one conversation" if chosen.remember else "so each line is a conversation of its own"
        yield f"It was trained on single questions, {kept}{'' if chosen.remember else ' (--remember: one of all)'}."


def _talk(conversations: Sequence[Conversation], introduction: Iterator[str]) -> None:
    import readline  # noqa: F401  gives input() a history and its keys

    names = " and ".join(conversation.label for conversation in conversations)
    print(visible(f"{names}: Ctrl-C stops an answer, /new forgets what was said, Ctrl-D or /exit leaves."))
    for line in introduction:
        print(visible(line))
    for conversation in conversations:
        if not conversation.has_template:
            print(visible(f"{conversation.label} has no chat template: it goes on with what you write."))
    while True:
        try:
            said = input(PROMPT)
        except EOFError:
            return print()
        except KeyboardInterrupt:
            print("\n(Ctrl-D or /exit leaves)")
            continue
        if said.strip() == "/exit":
            return None
        if said.strip() in FORGET:
            _reset(conversations)
            print("Forgotten.")
        elif said.strip():
            _reply(conversations, said)


def _follow(conversations: Sequence[Conversation], lines: Iterator[str]) -> None:
    """Answers a pipe, line by line."""
    for line in lines:
        if line.strip() == "/exit":
            return
        if line.strip() in FORGET:
            _reset(conversations)
        else:
            _answer_once(conversations, line)


def _reset(conversations: Sequence[Conversation]) -> None:
    for conversation in conversations:
        conversation.reset()


def _reply(conversations: Sequence[Conversation], said: str) -> None:
    try:
        _answer(conversations, said)
    except UserError as error:
        print(visible(str(error)), file=sys.stderr)
    print()


def _answer(conversations: Sequence[Conversation], said: str) -> list[Answer]:
    answers = [_stream(conversations[0], said)] if len(conversations) == 1 else _side_by_side(conversations, said)
    for conversation, answer in zip(conversations, answers, strict=True):
        if answer.end != "finished":
            print(visible(f"({conversation.label}: {answer.end})"), file=sys.stderr)
    return answers


def _stream(conversation: Conversation, said: str) -> Answer:
    def show(piece: str) -> None:
        print(visible(piece), end="", flush=True)

    answer = conversation.ask(said, show)
    print(flush=True)
    return answer


def _side_by_side(conversations: Sequence[Conversation], said: str) -> list[Answer]:
    from rich.console import Console

    from groupwise.commands.side_by_side import Pair

    console = Console(highlight=False)
    answers = Pair(conversations).ask(said, console if console.is_terminal else None)
    if not console.is_terminal:
        for conversation, answer in zip(conversations, answers, strict=True):
            print(f"[{conversation.label}]\n{visible(answer.text)}\n", flush=True)
    return answers
