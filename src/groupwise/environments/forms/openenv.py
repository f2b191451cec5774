"""This module plays environments of OpenEnv: a server is asked over its WebSocket; one session an episode."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

from groupwise.environments.arguments import short
from groupwise.environments.plain import earned
from groupwise.environments.protocol import Ended, Reply, Says, Utterance
from groupwise.errors import UserError

EXTRA = "pip install 'groupwise[openenv]'"


@dataclass(frozen=True)
class OpenEnv:
    """An environment that a server of OpenEnv's offers. Each step's reward is the turn's; words that are no action are
    answered, and cost a turn."""

    url: str
    """``http://host:port`` or ``ws://host:port``, of the server."""
    act: Callable[[str], Mapping[str, Any]] | None = None
    """The action that the model's words mean; it raises ValueError where they mean none. None: where the server's
    actions have one text or number that is required, the words are that; else they are the action as a JSON object."""
    show: Callable[[Mapping[str, Any]], str] | None = None
    """What the model reads of an observation. None: its only text, or the observation as JSON."""
    reply_seconds: float = 60.0
    """The server's for an answer."""

    async def __call__(self, row: Mapping[str, Any], random: Random) -> AsyncGenerator[Utterance | Ended, Reply]:
        schema = await asyncio.to_thread(lambda: self._action) if self.act is None else {}
        given = row.get("seed")
        seed = given if isinstance(given, int) and not isinstance(given, bool) else random.getrandbits(31)
        socket = await self._connected()
        try:
            got, wrong = await self._asked(socket, "reset", {"seed": seed})
            if got is None:
                raise RuntimeError(f"the server cannot reset the environment: {wrong}")
            reply = yield self._shown(got["observation"])
            while not got["done"]:
                try:
                    action = dict(self.act(str(reply))) if self.act else action_of(str(reply), schema)
                except ValueError as error:
                    reply = yield f"not an action: {error}"
                    continue
                after, wrong = await self._asked(socket, "step", action)
                if after is None:
                    reply = yield f"not an action: {wrong}"
                    continue
                got = after
                if not got["done"]:
                    reply = yield Says(
                        self._shown(got["observation"]), reward=earned(got["reward"] or 0.0, "the server")
                    )
            await socket.send(json.dumps({"type": "close"}))
        finally:
            await socket.close()
        yield Ended({"reward": earned(got["reward"] or 0.0, "the server")})

    async def _connected(self) -> Any:
        try:
            from websockets.asyncio.client import connect
        except ImportError as error:
            raise UserError(f"an OpenEnv server needs the package websockets: {EXTRA}") from error
        host = self.url.replace("http", "ws", 1) if self.url.startswith("http") else self.url
        host = host.rstrip("/") if host.rstrip("/").endswith("/ws") else f"{host.rstrip('/')}/ws"
        return await connect(host, open_timeout=self.reply_seconds, max_size=None)

    async def _asked(self, socket: Any, kind: str, data: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
        """What the server answers, or why it does not take what was sent."""
        await socket.send(json.dumps({"type": kind, "data": data}))
        answer = json.loads(await asyncio.wait_for(socket.recv(), self.reply_seconds))
        told = answer.get("data") or {}
        if answer.get("type") == "error":
            details = told.get("errors") or told.get("details")
            return None, short(
                f"{told.get('message') or told}{f' {json.dumps(details, default=str)}' if details else ''}"
            )
        return {
            "observation": told.get("observation") or {},
            "reward": told.get("reward"),
            "done": told.get("done"),
        }, ""

    def _shown(self, observation: Mapping[str, Any]) -> str:
        if self.show is not None:
            return str(self.show(observation))
        texts = [value for value in observation.values() if isinstance(value, str) and value]
        return texts[0] if len(texts) == 1 else json.dumps(observation, ensure_ascii=False)

    @cached_property
    def _action(self) -> Mapping[str, Any]:
        """The JSON schema of the server's actions."""
        import urllib.request

        base = self.url.replace("ws", "http", 1) if self.url.startswith("ws") else self.url
        base = base.rstrip("/").removesuffix("/ws")
        with urllib.request.urlopen(f"{base}/schema", timeout=self.reply_seconds) as answer:
            found = json.load(answer)
        return dict(found.get("action") or {})


def action_of(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """An action out of words: the one thing that the schema requires, or a JSON object. Raises ValueError."""
    required = [name for name in schema.get("required") or () if name != "metadata"]
    kinds = {name: (schema.get("properties") or {}).get(name, {}).get("type") for name in required}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return value
    if len(required) == 1 and kinds[required[0]] == "string":
        return {required[0]: text}
    if len(required) == 1 and kinds[required[0]] in ("integer", "number"):
        try:
            return {required[0]: int(text) if kinds[required[0]] == "integer" else float(text)}
        except ValueError as error:
            raise ValueError(f"{short(text)!r}; expected a number") from error
    raise ValueError(f"{short(text)!r}; expected a JSON object with {', '.join(required) or 'the fields of an action'}")
