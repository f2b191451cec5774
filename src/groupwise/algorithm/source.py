"""This module is the slot for data: what the mathematics, the loop and the checks ask of a source. See
groupwise.sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:  # the mathematics runs without them
    from groupwise.protocols import Position, RolloutBatch, Selection
    from groupwise.tokens.renderer import Renderer
    from groupwise.types import Example, Group, Prompt, Sampling

Algorithm: TypeAlias = Any
DrawContext: TypeAlias = Any
Task: TypeAlias = Any
"""These three are made of what this module is a part of, so it cannot name them; sources state the types themselves:
``groupwise.algorithm.Algorithm``, ``groupwise.sources.DrawContext`` and ``groupwise.tasks.Task``."""


@runtime_checkable
class Source(Protocol):
    """A source says where the data comes from. A new one says how it draws, at which temperature, and answers those of
    the questions below for which it is not as the plainest source is: rows that hold their own completions.

    Nobody asks which source it has: what depends on it is a question here.
    """

    @property
    def temperature(self) -> float:
        """Is the temperature of every log-probability of this algorithm: logits are divided by it."""
        ...

    @property
    def max_completion_tokens(self) -> int:
        """Bounds each completion that it samples; 0: it samples none."""
        return 0

    @property
    def samples_per_prompt(self) -> int:
        """Counts the completions that it samples of a prompt, and of each model that it samples from; 0: none."""
        return 0

    def draw(self, context: DrawContext, position: Position) -> RolloutBatch:
        """Makes the groups of one step. The same position, seed and weights give the same groups, and the position that
        comes back continues exactly where this draw ends.

        It calls ``context.serve`` where it wants to sample from the policy as it is now. Raises UserError where nothing
        can be drawn.
        """
        ...

    # Draws made ahead

    def pending(self, context: DrawContext, position: Position) -> Sequence[RolloutBatch]:
        """Draws that it has made already and that begin at ``position`` or later, in order; waits for those under way.
        A checkpoint keeps them, since the weights that drew them are gone when it is continued."""
        return ()

    def restore(self, context: DrawContext, position: Position, pending: Sequence[RolloutBatch]) -> bool:
        """Takes up what ``pending`` gave at that position, before the first draw of a run that continues; False where
        it makes no draws ahead and has no use for them."""
        return not pending

    def pause(self, context: DrawContext) -> None:
        """Leaves the engine to whoever asks, such as an evaluation, until the next draw: waits for what is under way
        there."""
        return

    def close(self, context: DrawContext) -> None:
        """Ends what it has under way: the stage is over, or stops here."""
        return

    # Who draws, and how much

    def sampled_by(self) -> Literal["learner", "another", "nobody"]:
        """Says who draws its completions: the policy that learns, as it is at each draw or ``lag`` steps before;
        another policy, or the same one as it was at another time or temperature; or no policy of ours."""
        return "nobody"

    def lag(self) -> int:
        """Says by how many steps the weights that draw may be behind those that learn. With 1 or more it samples
        beside learning, so that its engine needs weights of its own."""
        return 0

    def samples_from(self) -> tuple[str, ...]:
        """Names the models that do not learn here and that it samples from, named as ``Stage.start`` names them; an
        empty name is the policy as the stage finds it."""
        return ()

    def completions_per_prompt(self) -> int:
        """Says how many of a prompt a step learns from, before a selection leaves some out."""
        return 1

    def sampling(self, renderer: Renderer) -> Sampling | None:
        """Says how its completions are drawn; None where it samples none."""
        return None

    def gathers(self, rows: int) -> int:
        """Says for how many of so many rows it samples once, before its first draw; 0: it does not."""
        return 0

    def samples_by_itself(self) -> bool:
        """Says whether how a completion comes about is its own affair, so that nobody else can sample one like its
        own."""
        return False

    def on_trial(self, prompts: int) -> Source:
        """Returns the same for a trial on so many prompts: as little as shows what it does."""
        return self

    def of_policy(self, models: tuple[str, ...], replay: float, replay_from: tuple[str, ...]) -> Source | None:
        """Returns the same with samples of these models, a share of what earlier stages kept among them; None where it
        does not sample from policies that no longer change."""
        return None

    def wraps(self) -> Source | None:
        """Returns the source whose draws it makes, at another time; None where it makes its own."""
        return None

    # What it makes of rows and groups

    def uses(self, example: Example) -> bool:
        """Says whether it learns from such a row at all."""
        return True

    def prompt_of(self, context: DrawContext, example: Example) -> Prompt | None:
        """Returns what it makes of a row before anything is sampled; None where it passes the row over. Raises
        UserError for a row that it cannot use."""
        return context.renderer.prompt(example)

    def texts_of(self, example: Example) -> Sequence[Example]:
        """Returns the row once for each text of it that is learned as it stands there, as that one's completion."""
        return ()

    def reads_documents(self) -> bool:
        """Says whether its rows are plain text, read as it stands: nothing is asked, so no template shows it."""
        return False

    def labels_steps(self) -> bool:
        """Says whether its rewards are labels of steps."""
        return False

    def asks_verdict(self) -> bool:
        """Says whether it chooses by which completions are right."""
        return False

    def needs_reward(self, algorithm: Algorithm) -> bool:
        """Says whether what it samples must be scored: for an advantage, or to choose among completions or groups."""
        return False

    def selection(self) -> Selection | None:
        """Says what of a group is trained on; None: all of it."""
        return None

    def keeps(self, group: Group, signal: Callable[[Group], bool]) -> bool:
        """Says whether a scored group is trained on; ``signal`` says whether the advantage sees differences in one."""
        return True

    def without_signal_words(self) -> str:
        """Says what it does with a group without signal, in words that go on from "the source"; empty: nothing."""
        return ""

    # What it cannot do

    def complaints(self, algorithm: Algorithm) -> Iterator[str]:
        """Yields a sentence for each thing that cannot mean what it says in such an algorithm, whatever the task."""
        yield from ()

    def task_complaints(self, algorithm: Algorithm, task: Task) -> Iterator[str]:
        """Yields a sentence for each thing that it lacks in a task."""
        yield from ()

    def remarks(self, algorithm: Algorithm) -> Iterator[str]:
        """Yields a sentence for each thing that works but may not be meant."""
        yield from ()
