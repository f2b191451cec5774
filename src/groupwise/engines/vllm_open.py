"""This module opens vLLM servers: what each is asked before anything is sampled, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from groupwise.engines.stops import spelling_of
from groupwise.engines.vllm_client import GENERATE, Address, Client, ServerError
from groupwise.engines.vllm_engine import VLLMEngine
from groupwise.engines.vllm_servers import HEALTH_SECONDS, Rules, Server, Servers
from groupwise.errors import UserError

TEXT = 'Ünïcode 12+30=42, {"a": [1, 2]}\n  def f(x): return x'
START = "start it with: groupwise serve MODEL --vllm"
PROCESSED = "processed_logprobs"


def clients_of(urls: Sequence[str], timeout_seconds: float, key: str) -> list[Client]:
    """Returns a client for each address. Raises UserError for one that is none, or that stands twice."""
    if not urls:
        raise UserError("engine.urls: seen none; expected the addresses of vLLM servers")
    addresses = [Address.of(url) for url in urls]
    if len({address.place for address in addresses}) < len(addresses):
        raise UserError("engine.urls: the same address stands twice; name each server once")
    return [Client(address, timeout_seconds, key) for address in addresses]


def open_engine(
    clients: Sequence[Client],
    rules: Rules,
    directory: Path | str,
    live: Any,
    tokenizer: Any,
    note: Callable[[str], None],
) -> VLLMEngine:
    """Opens an engine on servers. Raises UserError; see ``VLLMServers.open``."""
    servers = [Server(client) for client in clients]
    for server in servers:
        ask(server, tokenizer)
    model_config = live.config if live is not None else _config_of(directory)
    longest = vars(model_config.get_text_config()).get("max_position_embeddings")
    contexts = [server.context_tokens for server in servers if server.context_tokens > 0]
    if not contexts and not longest:
        raise UserError("engine.urls: neither the servers nor the model's config.json say how long a context may be")
    context = min([*contexts, int(longest)] if longest else contexts)
    if longest and context < int(longest):
        note(f"engine: the servers' context is {context} tokens, the model's {longest}; nothing longer is sampled")
    engine = VLLMEngine(rules, Servers(servers, note), live, model_config, context, spelling_of(tokenizer), note)
    if live is None:
        engine.load_directory(Path(directory))
    return engine


def ask(server: Server, tokenizer: Any) -> None:
    """Asks a server what it is, and keeps that. Raises UserError for one that cannot serve a run."""
    brief = min(HEALTH_SECONDS, server.client.timeout_seconds)
    try:
        server.client.get("/health", brief)
    except ServerError as error:
        _refuse_key(error)
        here = "what answers there is no vLLM server" if error.status else "no vLLM server answers there"
        raise UserError(f"engine.urls: {error}; {here}: {START}") from error
    _ask_model(server, brief)
    _ask_routes(server, brief)
    _ask_tokenizer(server, tokenizer, brief)
    mode = server.told.get("logprobs_mode")
    if mode is not None and mode != PROCESSED:
        raise UserError(
            f"engine.urls: {server.url} gives {mode}; a run needs the log-probabilities at the sampling temperature: "
            f"start it with --logprobs-mode {PROCESSED} (groupwise serve MODEL --vllm does)"
        )


def _refuse_key(error: ServerError) -> None:
    """Raises UserError where a server wants another key."""
    if error.status == 401:
        raise UserError(f"engine.urls: {error}; it wants a key, or another one, in GROUPWISE_VLLM_KEY") from error


def _ask_model(server: Server, brief: float) -> None:
    try:
        [first, *_] = server.client.get("/v1/models", brief)["data"]
        server.model, server.context_tokens = str(first["id"]), int(first.get("max_model_len") or 0)
    except (ServerError, KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, ServerError):
            _refuse_key(error)
        raise UserError(f"engine.urls: {server.url} is no vLLM server: /v1/models names no model ({error})") from error


def _ask_routes(server: Server, brief: float) -> None:
    """Says whether it takes token ids, and can be given weights. One that was left paused, by a run that ended while it
    gave it weights, goes on."""
    try:
        paused = server.client.get("/is_paused", brief)
        if isinstance(paused, dict) and paused.get("is_paused") is True:
            server.client.post("/resume", timeout=brief)
    except ServerError as error:
        _refuse_key(error)
        raise UserError(
            f"engine.urls: {error}: the server cannot be given new weights; it wants VLLM_SERVER_DEV_MODE=1 in its "
            f"environment; {START}"
        ) from error
    try:
        server.generate({"token_ids": [1], "sampling_params": {"max_tokens": 1, "logprobs": 0, "detokenize": False}})
    except ServerError as error:
        _refuse_key(error)
        more = "; it wants --enable-scale-out" if error.status == 403 else ""
        raise UserError(f"engine.urls: {error}: {GENERATE} does not serve{more}; {START}") from error
    try:
        config = server.client.get("/server_info?config_format=json", 60.0)["vllm_config"]
        model, lora = config["model_config"], config.get("lora_config") or {}
        server.told = {name: model[name] for name in ("dtype", "logprobs_mode") if model.get(name)}
        server.adapter_rank = int(lora.get("max_lora_rank") or 0)
    except (ServerError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
        server.told = {}  # older servers say it as text; the probe after the first load finds out


def _ask_tokenizer(server: Server, tokenizer: Any, brief: float) -> None:
    """Compares how a text is split."""
    ours = list(tokenizer(TEXT, add_special_tokens=False)["input_ids"])
    body = {"model": server.model, "prompt": TEXT, "add_special_tokens": False}
    try:
        theirs = server.client.post("/tokenize", body, brief)["tokens"]
    except (ServerError, KeyError, TypeError):
        theirs = None
    if not isinstance(theirs, list):
        return  # it has no tokenizer (--skip-tokenizer-init); the probe after the first load finds another model
    if theirs != ours:
        place = next((at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), len(ours))
        raise UserError(
            f"engine.urls: {server.url} has another tokenizer than the model: of a text with {len(ours)} tokens here "
            f"and {len(theirs)} there number {place + 1} differs; start the server on this run's model"
        )


def _config_of(directory: Path | str) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(directory)
