"""Tasks run on processors and on a cluster; one that fails or dies is heard of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from groupwise.corpus.engine import Executor, run_each
from groupwise.errors import UserError

DEATH = """
import sys
from pathlib import Path
from groupwise.corpus.engine import Executor, run_each
run_each(Executor("local", 2), eval, ["__import__('os').kill(__import__('os').getpid(), 9)", "1"], Path(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("text", "executor"),
    [
        ("local", Executor("local")),
        ("local:3", Executor("local", 3)),
        ("ray:2", Executor("ray", 2)),
        ("ray:ray://head:10001", Executor("ray", 0, "ray://head:10001")),
        ("ray:auto", Executor("ray", 0, "auto")),
        ("slurm:cpu:100", Executor("slurm", 100, "cpu")),
        ("slurm:cpu", Executor("slurm", 0, "cpu")),
    ],
)
def test_executors_by_name(text: str, executor: Executor) -> None:
    assert Executor.named(text) == executor
    assert executor.count >= 1


@pytest.mark.parametrize("text", ["", "cloud", "local:x", "local:-1", "slurm", "slurm:", "local:2:3"])
def test_what_is_no_executor_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected local:N"):
        Executor.named(text)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_runs_once(tmp_path: Path, workers: int, capfd: pytest.CaptureFixture[str]) -> None:
    names = [str(tmp_path / f"task-{number}") for number in range(3)]
    run_each(Executor("local", workers), os.mkdir, names, tmp_path / "logs")
    assert all(Path(name).is_dir() for name in names)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(FileExistsError):
        run_each(Executor("local", workers), os.mkdir, [*names, str(tmp_path / "more")], tmp_path / "logs")


def test_a_process_that_is_ended_from_outside_ends_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DEATH, str(tmp_path / "logs")], capture_output=True, text=True, timeout=100
    )
    assert done.returncode != 0
    assert "ended from outside" in done.stderr


def test_a_cluster_that_does_not_start_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup. This could happen\nbecause")  # as Ray raises it

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(
        UserError, match=r"^--executor ray: no cluster answers at this machine: The current node .* happen$"
    ):
        run_each(Executor("ray", 2), os.mkdir, ["a"], tmp_path / "logs")


def test_ray_runs_the_same_tasks(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    names = [str(tmp_path / f"task-{number}") for number in range(3)]
    for attempt in range(5):
        try:
            run_each(Executor("ray", 2), os.mkdir, names, tmp_path / "logs")
            break
        except Exception as error:  # Ray's own bound of half a minute for its start, on a busy machine
            if attempt == 4 or "timed out during startup" not in str(error):
                raise
        finally:
            ray.shutdown()
    assert all(Path(name).is_dir() for name in names)


SBATCH = """#!/bin/sh
for last; do :; done
cp "$last" "$SLURM_TEST/script"
count=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$last")
export SLURM_NODELIST=localhost RUN_OFFSET=0
for task in $(seq 0 "$count"); do
    SLURM_ARRAY_TASK_ID=$task bash "$last" > "$SLURM_TEST/log-$task" 2>&1 || exit 3
done
echo Submitted batch job 17
"""
SRUN = '#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do case $1 in -n) shift 2;; *) shift;; esac; done\nexec "$@"\n'


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands that do what Slurm's do, one task after the other."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("scontrol", "#!/bin/sh\necho localhost\n")):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_TEST", str(tmp_path))
    return tmp_path


def test_slurm_is_waited_for(slurm: Path) -> None:
    name = str(slurm / "task")
    run_each(Executor("slurm", 5, "cpu"), os.mkdir, [name], slurm / "logs")
    assert Path(name).is_dir(), (slurm / "log-0").read_text()
    script = (slurm / "script").read_text()
    for line in ("--partition=cpu", "--array=0-0%5", "--wait", "--cpus-per-task=1", "--time=24:00:00"):
        assert f"#SBATCH {line}\n" in script
    assert "qos" not in script
    with pytest.raises(UserError, match="failed on Slurm"):
        run_each(Executor("slurm", 5, "cpu"), os.mkdir, [name], slurm / "logs")


def test_slurm_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no sbatch here"):
        run_each(Executor("slurm", 0, "cpu"), os.mkdir, ["one"], tmp_path / "logs")
