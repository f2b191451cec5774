"""This module lets two conversations answer at once, in two columns."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from groupwise.commands.conversation import Answer, Conversation
from groupwise.output.printable import visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

KEPT_LINES = 4  # of the terminal's height for headings


class Pair:
    """A pair asks every conversation the same, each in a thread of its own, and shows the answers as they are drawn."""

    def __init__(self, conversations: Sequence[Conversation]) -> None:
        self.conversations = conversations
        self.texts = [""] * len(conversations)
        self.answers: list[Answer | Exception | None] = [None] * len(conversations)
        self.stop = threading.Event()

    def ask(self, said: str, console: Console | None) -> list[Answer]:
        """Asks all of them. ``console`` None: shows nothing. Ctrl-C stops all answers. Raises what any of them
        raised."""
        threads = [
            threading.Thread(target=self._answer, args=(number, said), daemon=True)
            for number in range(len(self.conversations))
        ]
        for thread in threads:
            thread.start()
        try:
            self._watch(threads, console)
        finally:
            self.stop.set()
        for answer in self.answers:
            if isinstance(answer, Exception):
                raise answer
        return [answer for answer in self.answers if isinstance(answer, Answer)]

    def _answer(self, number: int, said: str) -> None:
        def hear(piece: str) -> None:
            self.texts[number] += visible(piece)

        try:
            self.answers[number] = self.conversations[number].ask(said, hear, self.stop.is_set)
        except Exception as error:
            self.answers[number] = error

    def _watch(self, threads: Sequence[threading.Thread], console: Console | None) -> None:
        if console is None:
            return self._wait(threads)
        from rich.live import Live

        def newest() -> RenderableType:
            return self._columns(console, console.height - KEPT_LINES)

        with Live(get_renderable=newest, console=console, refresh_per_second=12, transient=True):
            self._wait(threads)
        console.print(self._columns(console))
        return None

    def _wait(self, threads: Sequence[threading.Thread]) -> None:
        while True:
            try:
                while any(thread.is_alive() for thread in threads):
                    threads[0].join(0.02)
                    threads[-1].join(0.02)
                return
            except KeyboardInterrupt:
                self.stop.set()

    def _columns(self, console: Console, lines: int | None = None) -> RenderableType:
        """Returns all of both answers, or the last lines that a terminal has room for."""
        from rich.box import MINIMAL
        from rich.table import Table
        from rich.text import Text

        table = Table(box=MINIMAL, expand=True, pad_edge=False)
        for conversation in self.conversations:
            table.add_column(Text(conversation.label, style="bold"), ratio=1, overflow="fold")
        width = max(8, console.width // len(self.texts) - 3)
        cells = []
        for text in self.texts:
            rows = Text(text).wrap(console, width, overflow="fold")
            cells.append(Text("\n").join(rows[-lines:] if lines else rows))
        table.add_row(*cells)
        return table
