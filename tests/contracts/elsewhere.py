"""A learner whose network lies in another process: what a learner of many processes needs, in one file.

All that passes between the two is bytes of pickled plain values. ``Elsewhere(...)`` takes the place of ``Local(...)``
in a recipe; as a script this file is the other process.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any, BinaryIO

from torch import Tensor

from groupwise.algorithm import Algorithm
from groupwise.learners import Local, Lora
from groupwise.learners.loading import load_tokenizer
from groupwise.learning.tally import Tally
from groupwise.learning.train_batch import TrainBatch

if TYPE_CHECKING:
    import warm

IDLE: list[warm.Process] = []
FACTS = ("version", "threads", "stop_tokens", "context_tokens", "half_precision", "is_policy")


@dataclass(frozen=True)
class Elsewhere(Local):
    """The options of the learner there."""

    def open(self, directory: Path | str, note: Callable[[str], None] = lambda text: None) -> RemoteLearner:
        return RemoteLearner(directory, "open", asdict(self), str(directory))

    def open_scorer(
        self, directory: Path | str, seed: int = 0, note: Callable[[str], None] = lambda text: None
    ) -> RemoteLearner:
        return RemoteLearner(directory, "open_scorer", asdict(self), str(directory), seed)


def start() -> warm.Process:
    """One that ends when nobody can ask it any more: with this one."""
    import warm

    return warm.Process([__file__], stdin=PIPE, stdout=PIPE, stderr=2, text=False)


class RemoteMemory:
    """A ``trainable.Memory``: every question is asked there."""

    def __init__(self, learner: RemoteLearner) -> None:
        self._learner = learner

    @property
    def tokens_per_micro_batch(self) -> int:
        return self._learner.ask("memory.tokens_per_micro_batch")

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args: self._learner.ask(f"memory.{name}", *args)


class RemoteLearner:
    """A ``trainable.Policy``, or a scorer."""

    version: int
    threads: int
    stop_tokens: tuple[int, ...]
    context_tokens: int
    half_precision: bool
    is_policy: bool

    def __init__(self, directory: Path | str, opener: str, *args: Any) -> None:
        self.tokenizer = load_tokenizer(directory)
        self._process: warm.Process | None = IDLE.pop() if IDLE else start()
        self.ask(opener, *args)
        self.memory = RemoteMemory(self)

    @property
    def policy(self) -> RemoteLearner | None:
        return self if self.is_policy else None

    def accumulate(
        self, batch: TrainBatch, algorithm: Algorithm, *, on_rows: Callable[[int], None] = lambda rows: None
    ) -> Tally:
        raised: list[BaseException] = []

        def heard(rows: int) -> None:
            try:
                if not raised:
                    on_rows(rows)
            except BaseException as error:  # raised again when the other side is done
                raised.append(error)

        tally = self.ask("accumulate", batch, algorithm, heard=heard)
        if raised:
            raise raised[0]
        return tally

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        yield from self._told("weights")

    def live_module(self) -> None:
        """None: its memory is another process's."""

    def close(self) -> None:
        """Lets the process go, for the next learner to be opened in."""
        if self._process is not None:
            self.ask("close")
            IDLE.append(self._process)
            self._process = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **options: self.ask(name, *args, **options)

    def ask(self, name: str, *args: Any, heard: Callable[[int], None] = lambda rows: None, **options: Any) -> Any:
        """Has a method called there; ``heard`` is called with what it says on the way."""
        found = list(self._told(name, *args, heard=heard, **options))
        return found[-1] if found else None

    def _told(
        self, name: str, *args: Any, heard: Callable[[int], None] = lambda rows: None, **options: Any
    ) -> Iterator[Any]:
        assert self._process is not None, "closed"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        write(self._process.stdin, (name, args, options))
        error: Exception | None = None
        while True:
            kind, value = read(self._process.stdout)
            if kind == "rows":
                heard(value)
            elif kind == "item":
                yield value
            elif kind == "raised":
                error = value
            else:
                vars(self).update(value)
                break
        if error is not None:
            raise error


def write(pipe: BinaryIO, value: Any) -> None:
    data = pickle.dumps(value)
    pipe.write(len(data).to_bytes(8, "big") + data)
    pipe.flush()


def read(pipe: BinaryIO) -> Any:
    return pickle.loads(pipe.read(int.from_bytes(pipe.read(8), "big")))


def answers(learner: Any, name: str, args: Sequence[Any], options: dict[str, Any], out: BinaryIO) -> Iterator[Any]:
    """One value, or the weights one after another."""
    if name == "accumulate":
        options = {"on_rows": lambda rows: write(out, ("rows", rows))}
    found = learner
    for part in name.split("."):
        found = getattr(found, part)
    value = found(*args, **options) if callable(found) else found
    if name == "weights":
        yield from value
    else:
        yield value


def opened(opener: str, args: Sequence[Any]) -> Any:
    config, *rest = args
    return getattr(Local(**config | {"lora": Lora(**config["lora"])}), opener)(*rest)


def serve(inputs: BinaryIO, out: BinaryIO) -> None:
    """Does what it is asked until nobody can ask any more."""
    learner: Any = None
    while inputs.peek(1):  # type: ignore[attr-defined]
        name, args, options = read(inputs)
        try:
            if name.startswith("open"):
                learner = opened(name, args)
            else:
                for value in answers(learner, name, args, options, out):
                    write(out, ("item", value))
        except Exception as error:
            write(out, ("raised", error))
        facts = {name: getattr(learner, name, None) for name in FACTS if name != "is_policy"}
        write(out, ("done", facts | {"is_policy": learner is not None and learner.policy is not None}))


if __name__ == "__main__":
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    serve(sys.stdin.buffer, pipe)
