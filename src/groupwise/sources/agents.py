"""This source draws q ~ P and lets an agent program answer it, which talks with the policy over OpenAI's interface."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated, Literal

from groupwise.algorithm import Algorithm, Source
from groupwise.errors import UserError
from groupwise.isolation.deadlines import result
from groupwise.output.counting import counted
from groupwise.rewards.failures import Failures
from groupwise.serving.door import Door
from groupwise.serving.episodes import EpisodeMemory, EpisodeRules
from groupwise.serving.http_server import Server
from groupwise.serving.refusal import Refusal
from groupwise.sources.agent_process import AgentProcess
from groupwise.sources.draw import DrawContext, Position, RolloutBatch, after_prompts, prompts_taken
from groupwise.sources.episode_metrics import episode_metrics
from groupwise.sources.reward_metrics import reward_metrics
from groupwise.sources.rows import prompt_stream
from groupwise.sources.served import rollout_of
from groupwise.tasks.episode_rows import row_of
from groupwise.tasks.task import Task
from groupwise.tokens.renderer import Renderer
from groupwise.types import Example, Group, Rollout, Sampling, Score, Stop, flatten

HOST = "127.0.0.1"
POLL_SECONDS = 0.05
END_SECONDS = 60.0  # that it may take beside the program itself to begin and end a run
LONGEST_SECONDS = 3600.0  # then it is said where it stands


@dataclass(frozen=True)
class AgentPrograms(Source):
    """This source draws q ~ P and runs a program for each rollout, which asks the policy over OpenAI's interface as it
    would ask any other model, as often as it likes. What the policy samples in its calls is one rollout.

    The program finds the row as JSON on its standard input, and the address and token in ``OPENAI_BASE_URL`` and
    ``OPENAI_API_KEY``. Its last line is the reward: a number, or ``{"reward": 1.0, "success": true}``; or it sends the
    reward to ``$OPENAI_BASE_URL/reward``.
    """

    command: tuple[str, ...]
    """The program and its arguments."""
    group_size: Annotated[int, "[1, inf)"] = 8
    """Runs of the program for a row, G."""
    temperature: Annotated[float, "(0, inf)"] = 1.0
    """Logits are divided by it, whatever temperature the program asks for, in sampling and in learning alike."""
    max_completion_tokens: Annotated[int, "[1, inf)"] = 1024
    """Tokens that the policy samples in all calls of a run together."""
    seconds: Annotated[float, "(0, inf]"] = 600.0
    """A run that takes longer is ended, and has no reward."""
    side_by_side: Annotated[int, "[1, inf)"] = 16
    """Programs that run at one time."""

    def __post_init__(self) -> None:
        if not self.command or not all(isinstance(word, str) and word for word in self.command):
            raise UserError(
                f"command is {self.command!r}; expected a program and its arguments, such as (python, FILE)"
            )

    @property
    def samples_per_prompt(self) -> int:
        """Is the number of completions that it samples of a prompt."""
        return self.group_size

    def draw(self, context: DrawContext, position: Position) -> RolloutBatch:
        """Runs ``group_size`` programs for each of ``prompts_per_step`` rows. A run in which nothing was sampled is no
        rollout, and counted. Raises UserError where no run was one."""
        context.serve()
        taken, started = prompts_taken(position), perf_counter()
        rows: list[tuple[Example, int]] = []
        for row in prompt_stream(context, taken):
            rows.append(row)
            if len(rows) == context.prompts_per_step:
                break
        if not rows:
            raise UserError(f"{context.name}: task {context.task.name} has no training rows")
        runs = _Runs(self, context)
        found = runs.all([(example, f"{place}-{index}") for example, place in rows for index in range(self.group_size)])
        groups = []
        for number in range(len(rows)):
            own = found[number * self.group_size : (number + 1) * self.group_size]
            rollouts = tuple(rollout for rollout in own if isinstance(rollout, Rollout))
            groups += [Group(rollouts[0].prompt, rollouts)] if rollouts else []
        silent = [reason for reason in found if isinstance(reason, str)]
        if not groups:
            raise UserError(
                f"{context.name}: none of {counted(len(found), 'run')} of {self.name} asked the policy "
                f"anything; the first: {silent[0]}"
            )
        every = flatten(groups)
        metrics = reward_metrics(groups, context.signal) | episode_metrics(every)
        metrics |= {"completions/unscored": float(sum(rollout.reward is None for rollout in every))}
        metrics |= {"agents/silent": float(len(silent))}
        if silent and "agents/silent" not in context.told:
            context.told.add("agents/silent")
            context.on_note(f"{context.name}: a run of {self.name} asked the policy nothing: {silent[0]}")
        tokens = sum(sum(rollout.mask) for rollout in every)
        position = after_prompts(rows[-1][1] + 1)
        return RolloutBatch(groups, position, metrics, {"sample": perf_counter() - started}, tokens)

    @property
    def name(self) -> str:
        """Is the program's name, for messages."""
        return " ".join(Path(word).name for word in self.command[:2])

    def sampled_by(self) -> Literal["learner", "another", "nobody"]:
        """Says who draws its completions: ``learner``, ``another`` policy, or ``nobody``."""
        return "learner"

    def completions_per_prompt(self) -> int:
        """Says how many completions of a prompt a step learns from."""
        return self.group_size

    def sampling(self, renderer: Renderer) -> Sampling | None:
        """Says how its completions are drawn: temperature, length and what the choice is narrowed to."""
        return renderer.sampling(self.max_completion_tokens, self.temperature)

    def samples_by_itself(self) -> bool:
        """Says whether how a completion comes about is its own affair."""
        return True

    def complaints(self, algorithm: Algorithm) -> Iterator[str]:
        """Yields a sentence for each thing that cannot mean what it says in such an algorithm."""
        if algorithm.advantage.compares() and self.group_size < 2:
            yield (
                f"group_size is {self.group_size} with an advantage that compares a group's completions: every one "
                "would be 0; use group_size 2 or more"
            )
        if "greedy_rewards" in algorithm.needs():
            yield "the greedy baseline needs greedy completions, and a program draws none"
        if algorithm.trains_scorer:
            yield "AgentPrograms samples from the policy that learns, and here a scorer does"
        if algorithm.reference.sees:
            yield "reference.sees needs prompts that this stage makes, and here a program makes them"

    def task_complaints(self, algorithm: Algorithm, task: Task) -> Iterator[str]:
        """Yields a sentence for each thing that it lacks in a task."""
        if task.episodes is not None:
            yield f"task {task.name} has an environment, and a program does not talk with it; leave one of them out"


class _Runs:
    """This holds all runs of one draw, and the door that they talk through."""

    def __init__(self, source: AgentPrograms, context: DrawContext) -> None:
        self.source, self.context, self.token = source, context, secrets.token_urlsafe(24)
        self.memory, self.done, self.lock = EpisodeMemory(), 0, threading.Lock()
        self.living: set[AgentProcess] = set()
        self.is_over = False
        rules = EpisodeRules(source.temperature, source.max_completion_tokens)
        renderer = context.renderer
        self.door = Door(context.engine, renderer, "policy", self.memory, context.seed, source.seconds, rules)

    def all(self, asked: Sequence[tuple[Example, str]]) -> list[Rollout | str]:
        """Each run's rollout, or why it is none, in their order."""
        server = Server(self.door, self.token, HOST, 0)
        thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True)
        thread.start()
        told = self.context.told
        failures = Failures(self.context.name, self.context.most_unscored, told, self.context.on_note, len(asked))
        found: list[Rollout | str] = []
        whom, most = f"a run of {self.source.name}", min(self.source.seconds, LONGEST_SECONDS) + END_SECONDS
        pool = ThreadPoolExecutor(self.source.side_by_side, "groupwise-agent")
        try:
            for each in [pool.submit(self.one, server.port, *row, len(asked)) for row in asked]:
                found.append(result(each, self.context.name, whom, self.context.on_note, most, len(asked) + 1))
                failures.add([each for each in found[-1:] if isinstance(each, Rollout)])
        finally:
            self.is_over = True
            with self.lock:
                for process in self.living:
                    process.end()
            pool.shutdown(cancel_futures=True)
            server.shutdown()
            server.server_close()
            self.door.close()
            thread.join(END_SECONDS)
        return found

    def one(self, port: int, example: Example, name: str, total: int) -> Rollout | str:
        """Runs the program once on a row, and returns what its run has become: a rollout, or why there is none."""
        if self.is_over:
            return "the draw is over"
        address, row = f"http://{HOST}:{port}/v1/sessions/{name}", row_of(example)
        try:
            process = AgentProcess(self.source.command, row, address, self.token)
        except OSError as error:
            raise UserError(f"{self.context.name}: {self.source.command[0]} cannot be run: {error.strerror}") from None
        with self.lock:
            self.living.add(process)
        score = process.wait(self.source.seconds)
        with self.lock:
            self.living.discard(process)
            self.done += 1
            self.context.on_phase("sample", self.done, total)
        return self.ended(example, name, score)

    def ended(self, example: Example, name: str, score: Score) -> Rollout | str:
        """Returns what a run has become: the reward that the program sent goes before what it wrote."""
        sent, used_up = name in self.memory.episodes, self.door.is_used_up(name)
        if not sent:
            try:
                self.door.reward(name, {"reward": score.value or 0.0})
            except Refusal:
                return score.reason or "it ended without a call"
        lines = self.memory.episodes.pop(name)
        stop: Stop = "finished"
        if sent:
            score = Score(lines[0]["reward"])
        elif used_up and score.value is None:
            score, stop = Score(0.0), "truncated"
        elif score.status == "not_applicable":
            score, stop = Score(None, "failed", reason="it gave no reward"), "failed"
        elif score.value is None:
            stop = "timeout" if score.status == "timeout" else "failed"
        return rollout_of(lines, example, score, stop, self.context.renderer)
