"""This is ``groupwise serve``: OpenAI's interface on this machine over a model, so that any agent program can be run
against it and its conversations become rollouts."""

from __future__ import annotations

import os
import secrets
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from groupwise.commands.parser import parser
from groupwise.commands.prompt_options import split_arguments, trained_options
from groupwise.config.ranges import refuse_number
from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.output.printable import visible

EXAMPLES = """  groupwise serve runs/quickstart/models/grpo
  groupwise serve PATH --port 8000 --out episodes.jsonl
  groupwise serve PATH --vllm --python vllm-env/bin/python   (a vLLM server that a run samples on; --vllm --help)

Then, with what is printed at the start:
  export OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=...
  curl $OPENAI_BASE_URL/chat/completions -H "Authorization: Bearer $OPENAI_API_KEY" \\
    -d '{"messages": [{"role": "user", "content": "12 + 30 = ?"}]}'
Ctrl-C stops it."""
TOKEN_VARIABLE = "GROUPWISE_SERVE_TOKEN"
LEAST_LETTERS = 16


def execute(arguments: Sequence[str]) -> int:
    """Serves until it is stopped."""
    if "--vllm" in arguments:
        from groupwise.commands.serve_vllm import execute as serve_vllm

        return serve_vllm(arguments)
    said, arguments = split_arguments(arguments)
    chosen = _parser().parse_args(arguments)
    refuse_number("--port", chosen.port, "[0, 65535]", whole=True)
    refuse_number("--wait", chosen.wait, "(0, inf)")
    token = _token()
    from groupwise.commands.models import labels, open_model
    from groupwise.serving.door import Door
    from groupwise.serving.episodes import EpisodeFile
    from groupwise.serving.http_server import Server

    known = trained_options(chosen.model, chosen.system, chosen.stop)
    opened = open_model(chosen.model, chosen.device, chosen.dtype, known.system or None, known.chat, said)
    renderer = replace(opened[1], stop_strings=known.stop_strings)
    file = EpisodeFile(Path(chosen.out)) if chosen.out else None
    door = Door(opened[0], renderer, labels(chosen.model)[0], file, chosen.seed, chosen.wait)
    try:
        server = Server(door, token, chosen.host, chosen.port)
    except OSError as error:
        door.close()
        raise UserError(f"--host {chosen.host} --port {chosen.port}: {error.strerror}; choose another") from None
    try:
        _introduce(chosen, server.port, door.model, token)
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
        left = door.close()
    if left:
        kept = "it" if left == 1 else "them"
        print(f"{counted(left, 'session')} had no reward yet: nothing is kept of {kept}", file=sys.stderr)
    return 0


def _parser() -> ArgumentParser:
    summary = "OpenAI's interface over a model on this machine: any agent program, and its conversations as rollouts."
    known = parser("serve", summary, EXAMPLES, "groupwise serve MODEL [--port N] [--out FILE.jsonl] [options]")
    known.add_argument("model", metavar="MODEL", help="a model directory or hub name")
    known.add_argument("--port", type=int, metavar="N", default=8000, help="0: any that is free (8000)")
    known.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="another than this machine alone can reach (127.0.0.1)"
    )
    known.add_argument("--out", metavar="FILE.jsonl", help="episodes that were given a reward, a line a sequence")
    known.add_argument("--system", metavar="TEXT", help="a system message before conversations that bring none")
    known.add_argument("--stop", metavar="TEXT", action="append", help="an answer also ends with this text; repeatable")
    known.add_argument("--chat.NAME", dest="ignored", metavar="VALUE", help="told to the chat template")
    known.add_argument("--wait", type=float, metavar="SECONDS", default=600.0, help="for an answer (600)")
    known.add_argument("--seed", type=int, metavar="N", default=0, help="of answers whose request brings none (0)")
    known.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: cuda where there is one"
    )
    known.add_argument("--dtype", choices=("float32", "bfloat16", "float64"), default="float32", help="of the weights")
    return known


def _token() -> str:
    """Returns the token of the environment, or a new one."""
    token = os.environ.get(TOKEN_VARIABLE)
    if token is None:
        return secrets.token_urlsafe(24)
    if len(token) < LEAST_LETTERS or not (token.isascii() and token.isprintable()) or " " in token:
        raise UserError(f"{TOKEN_VARIABLE}: expected at least {LEAST_LETTERS} letters without blanks")
    return token


def _introduce(chosen: Namespace, port: int, model: str, token: str) -> None:
    host = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
    shown = f"${TOKEN_VARIABLE}" if TOKEN_VARIABLE in os.environ else token
    kept = f"episodes with a reward go to {chosen.out}" if chosen.out else "nothing is kept (--out FILE.jsonl)"
    print(visible(f"{model} is served; {kept}; Ctrl-C stops it"), file=sys.stderr)
    # Not masked: who starts the server must be able to read it.
    print(f"export OPENAI_BASE_URL=http://{host}:{port}/v1 OPENAI_API_KEY={shown}", flush=True)
