"""This module reads --ray: a run's processes, and vLLM servers for it, are placed on a Ray cluster.

Each process is what it is elsewhere: ``groupwise run`` with the variables that torchrun sets, or ``groupwise serve``.
An actor starts it where a placement group has room, and hands on what it says. Nothing else here knows of Ray.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.commands.ray_processes import STOP_SECONDS, Job, Running
from groupwise.errors import UserError

if TYPE_CHECKING:
    from groupwise.runs.recipe import Run

HELP = "place the processes on a Ray cluster: its address, or auto for the one that this machine belongs to"
SERVERS_HELP = "with --ray and an engine VLLMServers: place so many vLLM servers too, one GPU each"
PYTHON_HELP = "with --ray_servers: the python of the environment with vLLM, on every machine (this)"
OWN = ("--ray", "--ray_servers", "--ray_python", "--processes")
"""Options with a value that the placed processes are not given."""
CARRIED = ("GROUPWISE_", "HF_", "NCCL_", "GLOO_", "OMP_", "TORCH_", "CUDA_", "WANDB_", "VLLM_")
"""Variables of this process that begin so go with every placed one."""
ROOM_SECONDS = 120.0


class Starter:
    """This is the class of the actors: each starts one process, and hands on its lines."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def address(self) -> tuple[str, int]:
        """Returns where other machines reach this one, and a port that is free there."""
        import ray

        with socket.socket() as found:
            found.bind(("", 0))
            return str(ray.util.get_node_ip_address()), int(found.getsockname()[1])

    def start(self, words: Sequence[str], variables: dict[str, str], folder: str) -> Iterator[str | int]:
        """Yields the lines of a process, and at last its exit status. It is started in ``folder``, which every machine
        sees; one that is not there is told."""
        if not Path(folder).is_dir():
            yield f"{socket.gethostname()}: there is no folder {folder}; every machine must see the same folders"
            yield 2
            return
        self._process = subprocess.Popen(
            [sys.executable, "-m", "groupwise.cli", *words],
            cwd=folder,
            env=os.environ | variables | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield line.rstrip("\n")
        yield self._process.wait(STOP_SECONDS)

    def stop(self, number: int) -> None:
        """Sends a signal to the process."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


def add_ray_options(parser: ArgumentParser) -> None:
    """Adds ``--ray`` and the options that say what runs on the cluster."""
    parser.add_argument("--ray", metavar="ADDRESS", help=HELP)
    parser.add_argument("--ray_servers", metavar="N", type=int, default=0, help=SERVERS_HELP)
    parser.add_argument("--ray_python", metavar="PATH", default=sys.executable, help=PYTHON_HELP)


def run_on_ray(recipe: Run, chosen: Namespace, given: Sequence[str]) -> int:
    """Runs a recipe that was read here, on a cluster, and says what its first process says. Returns its exit status.

    Raises UserError where ray is not installed, the cluster is not there or has no room.
    """
    count = processes_of(recipe, chosen)
    refuse_servers(recipe, chosen)
    try:
        import ray  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise UserError("--ray needs ray; expected it installed: pip install 'groupwise[ray]'") from error
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        ray.init(
            address=chosen.ray,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {"PYTHONPATH": paths}},
        )
    except Exception as error:  # Ray has no class of its own for a cluster that does not start
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"--ray {chosen.ray}: no cluster answers there: {first}") from error
    try:
        return _placed(recipe, chosen, given, count)
    finally:
        ray.shutdown()


def processes_of(recipe: Run, chosen: Namespace) -> int:
    """Returns how many processes are placed: --processes, the learner's own number, or one."""
    return int(chosen.processes or vars(recipe.learner).get("processes") or 1)


def refuse_servers(recipe: Run, chosen: Namespace) -> None:
    """Raises UserError for --ray_servers where nobody would ask them, or they have no model to start with."""
    if chosen.ray_servers < 0:
        raise UserError(f"--ray_servers is {chosen.ray_servers}; expected 0 or more")
    if not chosen.ray_servers:
        return
    if "urls" not in vars(recipe.engine):
        raise UserError(
            f"--ray_servers: the recipe's engine is {type(recipe.engine).__name__}; expected engine=VLLMServers(...) "
            "in the recipe, whose urls are then those of the placed servers"
        )
    if not isinstance(recipe.model, str | Path):
        raise UserError("--ray_servers: the servers start on the recipe's model; expected a directory or a hub name")


def words_for_ranks(given: Sequence[str]) -> list[str]:
    """Returns the words of the command without what is this command's own."""
    kept, skipped = list[str](), False
    for word in given:
        name, equals, _ = word.partition("=")
        if skipped or name in OWN:
            skipped = not skipped and not equals
            continue
        kept.append(word)
    return kept


def jobs_of_ranks(words: Sequence[str], count: int, address: tuple[str, int]) -> list[Job]:
    """Returns a process for each rank, with the variables of torchrun; one alone has none."""
    jobs = []
    for rank in range(count):
        named = {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        named |= {"MASTER_ADDR": address[0], "MASTER_PORT": str(address[1])}
        prefix = f"process {rank}: " if rank else ""
        jobs.append(Job(("run", *words), _carried() | (named if count > 1 else {}), prefix))
    return jobs


def _carried() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(CARRIED)}


def _placed(recipe: Run, chosen: Namespace, given: Sequence[str], count: int) -> int:
    """Places servers, waits until they serve, then places the processes, and waits until the first has ended."""
    import ray

    device = vars(recipe.learner).get("device", "auto")
    gpus = 0 if device == "cpu" else 1 if ray.cluster_resources().get("GPU", 0) else 0
    bundles = [{"CPU": 1, "GPU": gpus} for _ in range(count)] + [{"CPU": 1, "GPU": gpus}] * chosen.ray_servers
    starters = _starters(bundles, grows=chosen.ray != "local")
    ranks, servers = starters[:count], starters[count:]
    running, words = Running(), words_for_ranks(given)
    try:
        if servers:
            for number, starter in enumerate(servers):
                host, port = ray.get(starter.address.remote())
                more = ("--cpu", "--dtype", "float32") if not gpus else ()
                served = ("serve", str(recipe.model), "--vllm", "--python", chosen.ray_python, "--host", host)
                own = ("--port", str(port), "--log", f"runs/vllm-{number}.log", *more)
                running.start(starter, Job((*served, *own), _carried(), f"server {number}: "))
            words += ["--engine.urls", *running.urls(len(servers))]
        for starter, job in zip(ranks, jobs_of_ranks(words, count, ray.get(ranks[0].address.remote())), strict=True):
            running.start(starter, job, first=starter is ranks[0])
        return running.status()
    finally:
        running.stop()


def _starters(bundles: Sequence[dict[str, int]], grows: bool) -> list[Any]:
    """Returns an actor for each bundle, near each other where there is room. Raises UserError where there is none: at
    once where the cluster never ``grows`` to what is asked for."""
    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    seen = {name: ray.cluster_resources().get(name, 0) for name in ("CPU", "GPU")}
    enough = all(sum(bundle[name] for bundle in bundles) <= has for name, has in seen.items())
    if not enough and not grows:
        raise UserError(no_room(bundles, seen, seen))
    group = placement_group([{name: n for name, n in bundle.items() if n} for bundle in bundles], strategy="PACK")
    if not ray.wait([group.ready()], timeout=ROOM_SECONDS)[0]:
        free = {name: ray.available_resources().get(name, 0) for name in ("CPU", "GPU")}
        raise UserError(no_room(bundles, seen, free, ROOM_SECONDS))
    kind = ray.remote(Starter)
    return [
        kind.options(
            num_cpus=bundle["CPU"],
            num_gpus=bundle["GPU"],
            max_concurrency=2,  # a process can be stopped while its lines are read
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=number),
        ).remote()
        for number, bundle in enumerate(bundles)
    ]


def no_room(
    bundles: Sequence[dict[str, int]], seen: dict[str, float], free: dict[str, float], seconds: float = 0.0
) -> str:
    """Returns what is said where a cluster has no room; ``seconds``: after waiting for so long."""
    waited = f" in {seconds:g} s" if seconds else ""
    asked = " and ".join(f"{n:g} {name}" for name, n in bundles[0].items() if n)
    has, left = (", ".join(f"{n:g} {name}" for name, n in each.items()) for each in (seen, free))
    return (
        f"--ray: no room{waited} for {len(bundles)} processes and servers of {asked} each; the cluster has {has}, of "
        f"which free: {left}; expected fewer --processes and --ray_servers, or a larger cluster"
    )
