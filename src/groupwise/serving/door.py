"""This module is the door itself: one model, its engine and renderer, and the sessions that are open."""

from __future__ import annotations

import itertools
import re
import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

from groupwise.errors import UserError
from groupwise.protocols import RolloutEngine
from groupwise.seeding import stable_seed
from groupwise.serving.answer import Choice, Form, TextPieces, read_choice
from groupwise.serving.dispatcher import Dispatcher, Drawing
from groupwise.serving.episodes import EpisodeRules, EpisodeStore
from groupwise.serving.refusal import Refusal
from groupwise.serving.request import Asked, is_finite
from groupwise.serving.sessions import Opening, Session, opening_of, plain_renderer
from groupwise.tokens.channels import CHANNEL
from groupwise.tokens.renderer import Renderer
from groupwise.types import CompletionEvent, Event, Request, Sampling

NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
MOST_SESSIONS = 65536
LOOK_SECONDS = 0.1  # between two looks whether the client is still there


class ClientGone(Exception):  # noqa: N818 - nobody is told
    """The client has hung up."""


class Door:
    """Answers what clients ask, and keeps what belongs to a session. Every method may be called from any thread."""

    def __init__(
        self,
        engine: RolloutEngine,
        renderer: Renderer,
        model: str,
        file: EpisodeStore | None = None,
        seed: int = 0,
        wait_seconds: float = 600.0,
        rules: EpisodeRules | None = None,
    ) -> None:
        self.model, self.file, self.wait_seconds, self.rules = model, file, wait_seconds, rules
        self._engine, self._seed = engine, seed
        self._renderer = replace(renderer, converses="refuse")
        self._plain = plain_renderer(self._renderer)
        self._dispatcher = Dispatcher(engine)
        self._sessions: dict[str, Session] = {}
        self._over: set[str] = set()
        self._calls = itertools.count()
        self._lock = threading.Lock()  # of sessions, and of the tokenizer, which is no friend of threads
        self._longest_token = max(map(len, renderer.tokenizer.get_vocab()), default=1)
        self._created = int(time.time())

    def models(self) -> dict[str, Any]:
        """Returns what ``GET /v1/models`` says."""
        about = {"id": self.model, "object": "model", "created": self._created, "owned_by": "groupwise"}
        return {"object": "list", "data": [about | {"max_model_len": self._engine.context_tokens}]}

    @property
    def speaks_in_channels(self) -> bool:
        """Says whether an answer may stand behind text that is not shown, so that nothing is certain before its end."""
        return any(token.content == CHANNEL for token in self._renderer.tokenizer.added_tokens_decoder.values())

    @property
    def open_requests(self) -> int:
        """Counts the requests that wait or are drawn."""
        return self._dispatcher.open

    def call(self, asked: Asked, name: str | None) -> Call:
        """Begins to draw what is asked, in the session of that name. Raises Refusal."""
        self._refuse_long(asked)
        with self._lock:
            session = self._session(name) if name is not None else None
            if self.rules is not None:
                asked = self.rules.applied(asked, session)
            try:
                opening, seeds = self._begin(asked, session)
            except UserError as error:
                raise Refusal(400, str(error)) from None
            except RecursionError:
                raise Refusal(400, "tools, calls or template arguments are nested too deeply") from None
        self._refuse_misfit(opening.tokens)
        request = Request(opening.tokens, seeds, max_tokens=asked.max_tokens)
        drawing = self._dispatcher.submit(request, self._sampling(asked))
        return Call(self, asked, session, opening, drawing)

    def reward(self, name: str, body: Any) -> dict[str, Any]:
        """Ends a session with its reward, and writes what it was. Raises Refusal."""
        if not isinstance(body, dict) or set(body) - {"reward", "group"}:
            raise Refusal(400, 'expected {"reward": a number}, and perhaps "group": a text')
        value, group = body.get("reward"), body.get("group")
        if not isinstance(value, int | float) or isinstance(value, bool) or not is_finite(value):
            raise Refusal(400, f"reward is {str(value)[:40]!r}; expected a finite number", "reward")
        if group is not None and not (isinstance(group, str) and 0 < len(group) <= 1024):
            raise Refusal(400, "group: expected a text of 1 to 1024 letters", "group")
        with self._lock:
            self._refuse_over(name)
            session = self._sessions.get(name)
            if session is None or not session.sequences:
                raise Refusal(404, f"session {name} has no answer yet, which a reward could be for")
            lines = session.as_json(float(value), group)
            if self.file is not None:
                self.file.write(lines)
            self._over.add(name)
            del self._sessions[name]
        drawn = sum(sum(line["mask"]) for line in lines)
        return {"session": name, "sequences": len(lines), "sampled_tokens": drawn, "reward": value}

    def drop(self, name: str) -> dict[str, Any]:
        """Forgets a session, of which nothing is written. Raises Refusal where there is none."""
        with self._lock:
            if self._sessions.pop(name, None) is None:
                raise Refusal(404, f"there is no session {name}")
        return {"session": name, "deleted": True}

    def is_used_up(self, name: str) -> bool:
        """Says whether a session that is open has no tokens left, and has asked for more."""
        with self._lock:
            return name in self._sessions and self._sessions[name].is_used_up

    def close(self) -> int:
        """Ends everything; returns how many sessions had no reward yet."""
        self._dispatcher.close()
        if self.file is not None:
            self.file.close()
        return sum(bool(session.sequences) for session in self._sessions.values())

    def form(self, asked: Asked, opening: Opening) -> Form:
        """Says how answers are written."""
        id = f"{'chatcmpl' if asked.is_chat else 'cmpl'}-{secrets.token_hex(12)}"
        return Form(id, int(time.time()), self.model, asked, self._renderer, opening.tokens)

    def choices(self, call: Call, drawn: dict[int, CompletionEvent]) -> list[Choice]:
        """Reads what was drawn, and keeps it in the call's session, both in order. Raises Refusal for what cannot be
        read."""
        asked, opening, session = call.asked, call.opening, call.session
        with self._lock:
            events = [drawn[index] for index in sorted(drawn)]
            try:
                found = [read_choice(self._renderer, opening.example, asked, event.completion) for event in events]
            except UserError as error:
                raise Refusal(500, str(error)) from None
            if session is not None and self._sessions.get(session.name) is session:
                for choice in found:
                    told = None if choice.was_cut else choice.message
                    session.keep(opening, asked, choice.completion, told)
            return found

    def decode(self, tokens: Any) -> str:
        """Returns what is shown of tokens."""
        with self._lock:
            return self._renderer.decode(tokens)

    def cancel(self, drawing: Drawing) -> None:
        """Gives up a request that nobody waits for any more."""
        self._dispatcher.cancel(drawing)

    def _session(self, name: str) -> Session:
        if not NAME.fullmatch(name):
            raise Refusal(400, f"session {name[:40]!r}: expected 1 to 128 letters, digits, '-', '_' and '.'")
        self._refuse_over(name)
        if name not in self._sessions and len(self._sessions) >= MOST_SESSIONS:
            raise Refusal(429, f"{len(self._sessions)} sessions are open, as many as may be; end some with a reward")
        return self._sessions.setdefault(name, Session(name))

    def _refuse_over(self, name: str) -> None:
        if name in self._over:
            raise Refusal(409, f"session {name} has its reward and is over; choose another name")

    def _begin(self, asked: Asked, session: Session | None) -> tuple[Opening, tuple[int, ...]]:
        if session is None:
            opening, about = opening_of(asked, self._renderer, self._plain), f"call {next(self._calls)}"
        else:
            opening, number = session.begin(asked, self._renderer, self._plain)
            about = f"session {session.name} {number}"
        stream = f"{self._seed} {about}" if asked.seed is None else f"seed {asked.seed}"
        return opening, tuple(stable_seed("serve", stream, index) for index in range(asked.choices))

    def _refuse_long(self, asked: Asked) -> None:
        """Raises Refusal for what cannot fit however it is tokenised, before others wait for its being tokenised."""
        letters = len(asked.text or "") + sum(len(message["content"] or "") for message in asked.messages)
        context = self._engine.context_tokens
        if letters > context * self._longest_token or len(asked.messages) > context:
            seen = f"{letters:,} letters in {len(asked.messages) or 1:,} parts"
            raise Refusal(400, f"the prompt has {seen}, more than the model's context of {context} tokens can hold")

    def _refuse_misfit(self, tokens: tuple[int, ...]) -> None:
        context, known = self._engine.context_tokens, len(self._renderer.tokenizer)
        if not tokens or len(tokens) >= context:
            raise Refusal(400, f"the prompt has {len(tokens)} tokens; 1 to {context - 1} fit the model's context")
        if not 0 <= min(tokens) <= max(tokens) < known:
            raise Refusal(400, f"token ids from {min(tokens)} to {max(tokens)}; the model knows 0 to {known - 1}")

    def _sampling(self, asked: Asked) -> Sampling:
        drawn = self._renderer.sampling(self._engine.context_tokens, asked.temperature, 0, asked.top_p)
        return replace(drawn, stop_strings=(*drawn.stop_strings, *asked.stops))


@dataclass(frozen=True)
class Call:
    """This is one request of a client that is being answered."""

    door: Door
    asked: Asked
    session: Session | None
    opening: Opening
    drawing: Drawing

    def whole(self, is_gone: Callable[[], bool]) -> dict[str, Any]:
        """Returns the answer as one object. Raises Refusal, and ClientGone where nobody waits for it."""
        drawn = {event.index: event for event in self._events(is_gone) if isinstance(event, CompletionEvent)}
        return self.door.form(self.asked, self.opening).whole(self.door.choices(self, drawn))

    def pieces(self, is_gone: Callable[[], bool]) -> Generator[dict[str, Any]]:
        """Yields the answer piece by piece; raises as ``whole``. With tools, text comes when a choice is over and it is
        known whether it calls one."""
        asked, form = self.asked, self.door.form(self.asked, self.opening)
        texts = [TextPieces(self.door.decode, asked.stops) for _ in range(asked.choices)]
        drawn: dict[int, CompletionEvent] = {}
        shows_text = not asked.tools and not self.door.speaks_in_channels
        if asked.is_chat:
            yield from map(form.first, range(asked.choices))
        for event in self._events(is_gone):
            if isinstance(event, CompletionEvent):
                drawn[event.index] = event
            elif shows_text and (text := texts[event.index].add(event.token)):
                yield form.text(event.index, text)
        choices = self.door.choices(self, drawn)
        for index, choice in enumerate(choices):
            if text := texts[index].end(choice.message["content"]):
                yield form.text(index, text)
            yield from form.last(index, choice)
        if asked.streams_usage:
            yield form.last_usage(choices)

    def _events(self, is_gone: Callable[[], bool]) -> Iterator[Event]:
        """What happens, until all is drawn."""
        looked = time.monotonic()
        deadline, left = looked + self.door.wait_seconds, self.asked.choices
        try:
            while left:
                event = self.drawing.next(LOOK_SECONDS)
                if event is not None:
                    left -= isinstance(event, CompletionEvent)
                    yield event
                now = time.monotonic()
                if left and now > looked + LOOK_SECONDS:
                    looked = now
                    if is_gone():
                        raise ClientGone
                    if now > deadline:
                        seconds = f"{self.door.wait_seconds:g} seconds"
                        raise Refusal(504, f"no answer within {seconds}; ask for fewer tokens")
        finally:
            self.close()

    def close(self) -> None:
        """Ends the answer, which nobody reads any more, wherever in it: nothing of it is drawn any further."""
        if self.drawing.left and not self.drawing.is_cancelled:
            self.door.cancel(self.drawing)
