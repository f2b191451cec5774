"""These are trackers of experiments that a run may tell its numbers: Weights & Biases, Trackio, MLflow, TensorBoard.

Each is a small value of ``Run.sinks`` that opens a sink. Their packages are extras and are imported when a run begins.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from groupwise.errors import UserError
from groupwise.output.masking import masked
from groupwise.protocols import Sink
from groupwise.sinks.background import BackgroundSink, TrackerRun
from groupwise.sinks.delivery import DeliveryRecord


@dataclass(frozen=True)
class RunInfo:
    """This is what a tracker is told of a run when it opens."""

    name: str
    directory: Path
    identity: str
    """The same for a run and its continuations, different for any other."""
    recipe: Mapping[str, Any]


class Tracker(Protocol):
    """A tracker is a value of ``Run.sinks``: it opens a sink that is told of the run."""

    def refuse(self) -> None:
        """Raises UserError where it cannot work here, before anything has begun."""
        ...

    def open(self, about: RunInfo) -> Sink:
        """Opens what is told of the run."""
        ...


@dataclass(frozen=True)
class TensorBoard(Tracker):
    """This tracker writes event files in the run's directory, under tensorboard/. Written without being named where it
    is installed."""

    def refuse(self) -> None:
        """Raises UserError where the package is not installed."""
        refuse_missing("tensorboard", "tensorboard")

    def open(self, about: RunInfo) -> Sink:
        """Opens event files in the run's directory."""
        from groupwise.sinks import tensorboard

        return tensorboard.TensorBoard(about.directory / "tensorboard")


@dataclass(frozen=True)
class Wandb(Tracker):
    """This tracker is Weights & Biases. Who is not logged in sets WANDB_MODE=offline, or ``mode``."""

    project: str = "groupwise"
    entity: str = ""
    mode: str = ""
    """online, offline or disabled; empty: as WANDB_MODE says."""

    def refuse(self) -> None:
        """Raises UserError where the package is not installed."""
        refuse_missing("wandb", "wandb")

    def open(self, about: RunInfo) -> Sink:
        """Opens a run of the project, or the one that this directory had before."""
        return BackgroundSink("wandb", lambda: _WandbRun(self, about), DeliveryRecord(about.directory, str(self)))


@dataclass(frozen=True)
class Trackio(Tracker):
    """This tracker is Trackio: files on this machine, and a dashboard on them by ``trackio show``."""

    project: str = "groupwise"

    def refuse(self) -> None:
        """Raises UserError where the package is not installed."""
        refuse_missing("trackio", "trackio")

    def open(self, about: RunInfo) -> Sink:
        """Opens a run of the project, or the one that this directory had before."""
        return BackgroundSink("trackio", lambda: _TrackioRun(self, about), DeliveryRecord(about.directory, str(self)))


@dataclass(frozen=True)
class MLflow(Tracker):
    """This tracker is MLflow. Without ``tracking_uri`` its own rules say where, MLFLOW_TRACKING_URI first."""

    project: str = "groupwise"
    """The experiment."""
    tracking_uri: str = ""

    def refuse(self) -> None:
        """Raises UserError where the package is not installed, or the address holds a secret."""
        refuse_missing("mlflow", "mlflow")
        if masked(self.tracking_uri) != self.tracking_uri:
            raise UserError(
                "sink mlflow: tracking_uri holds a password, which would be written down; leave it out there and set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )

    def open(self, about: RunInfo) -> Sink:
        """Opens a run of the experiment, or the one that this directory had before."""
        return BackgroundSink("mlflow", lambda: _MLflowRun(self, about), DeliveryRecord(about.directory, str(self)))


BY_NAME: Mapping[str, type[Any]] = {
    "wandb": Wandb,
    "trackio": Trackio,
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
}


def by_name(name: str) -> Tracker:
    """Returns the tracker of ``wandb``, or ``wandb:PROJECT``. Raises UserError for a name that is not known."""
    kind, _, project = name.partition(":")
    known = ", ".join(BY_NAME)
    if kind not in BY_NAME or (project and kind == "tensorboard"):
        raise UserError(f"--sink {name}: expected one of {known}; all but tensorboard take :PROJECT behind")
    tracker: Tracker = BY_NAME[kind](**({"project": project} if project else {}))
    return tracker


def is_installed(package: str) -> bool:
    """Says whether a package can be imported; it is not yet."""
    return importlib.util.find_spec(package) is not None


def refuse_missing(package: str, extra: str) -> None:
    """Raises UserError where a package is not installed."""
    if not is_installed(package):
        how = f'pip install "groupwise[{extra}]"'
        raise UserError(f"sink {package}: the package is not installed; {how}, or leave the sink out")


class _WandbRun(TrackerRun):
    """This is an open run of Weights & Biases."""

    def __init__(self, config: Wandb, about: RunInfo) -> None:
        import wandb

        self.run = wandb.init(
            project=config.project,
            entity=config.entity or None,
            mode=config.mode or None,  # type: ignore[arg-type]
            name=about.name,
            id=about.identity,
            resume="allow",
            dir=str(about.directory),
            config=dict(about.recipe),
        )

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        self.run.log({f"{stage}/{name}": value for name, value in values.items()} | {f"{stage}/step": step})

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        import wandb

        table = wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        self.run.log({f"completions/{name}": table})

    def close(self, summary: Mapping[str, Any]) -> None:
        self.run.summary.update(dict(summary))
        self.run.finish()


class _TrackioRun(TrackerRun):
    """This is an open run of Trackio."""

    def __init__(self, config: Trackio, about: RunInfo) -> None:
        import trackio

        self.run = trackio.init(
            project=config.project, name=about.identity, resume="allow", config=dict(about.recipe), embed=False
        )

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.run.log({f"{stage}/{name}": value for name, value in values.items()}, step=step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        import trackio

        self.run.log({f"completions/{name}": trackio.Table(columns=list(columns), data=[list(row) for row in rows])})

    def close(self, summary: Mapping[str, Any]) -> None:
        self.run.finish()


class _MLflowRun(TrackerRun):
    """This is an open run of MLflow."""

    def __init__(self, config: MLflow, about: RunInfo) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=config.tracking_uri or None)
        found = self.client.get_experiment_by_name(config.project)
        experiment = found.experiment_id if found else self.client.create_experiment(config.project)
        before = self.client.search_runs([experiment], f"tags.`groupwise.run` = '{about.identity}'")
        tags = {"groupwise.run": about.identity}
        run = before[0] if before else self.client.create_run(experiment, run_name=about.name, tags=tags)
        self.id = run.info.run_id
        self.client.update_run(self.id, status="RUNNING")
        self.client.log_dict(self.id, dict(about.recipe), "recipe.json")

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        # Its names have no @, as in pass@1.
        metrics = [Metric(f"{stage}/{name}".replace("@", "_at_"), value, now, step) for name, value in values.items()]
        self.client.log_batch(self.id, metrics=metrics)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Writes a table as MLflow's own tables lie on the disk."""
        table = {"columns": list(columns), "data": [list(row) for row in rows]}
        self.client.log_dict(self.id, table, f"completions/{name}.json")

    def close(self, summary: Mapping[str, Any]) -> None:
        for name, value in summary.items():
            self.client.set_tag(self.id, f"groupwise.{name}", str(value))
        self.client.set_terminated(self.id)
