"""What strangers try: programs, answers, models, data, names, directories; and what became of each attempt.

Nothing may escape, be forged, be touched, hang or end in a traceback. Programs and answers are tried by each of four
callers (``callers.py``), the rest by one.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import callers
from attempts import OUTCOMES

WORKER = Path(__file__).with_name("caller_worker.py")
SILENT_SECONDS = 90.0
"""After which an attempt hangs: several times the limits of all that it may take."""
Row = dict[str, Any]


def strangers(place: Path) -> dict[str, Any]:
    """The table of all attempts and what was lost."""
    import strangers_here

    place.chmod(0o755)
    present = callers.present()
    with ThreadPoolExecutor(2) as pool:
        tables = pool.map(partial(by_caller, place=place), present)
        rows = [row for table in tables for row in table]
    rows += strangers_here.attempts(place / "here")
    return summary(rows, [name for name in callers.CALLERS if name not in present])


def summary(rows: list[Row], absent: list[str]) -> dict[str, Any]:
    """Counts, by outcome and by kind, and each attempt with what each caller saw."""
    table: dict[str, dict[str, Any]] = {}
    for row in rows:
        seen = table.setdefault(row["name"], {"seconds": 0.0})
        seen[row["caller"]] = row["outcome"]
        seen["seconds"] = max(seen["seconds"], row["seconds"])
    outcomes = Counter(row["outcome"] for row in rows)
    kinds = Counter(name.partition(":")[0] for name in table)
    return {
        "attempts": len(table),
        "tries": len(rows),
        "callers_not_there": absent,
        "outcomes": {outcome: outcomes[outcome] for outcome in OUTCOMES},
        "by_kind": dict(sorted(kinds.items())),
        "by_attempt": table,
        "lost": [f"{row['name']} ({row['caller']}): {row['outcome']}, {row['detail']}" for row in rows if is_bad(row)],
    }


def is_bad(row: Row) -> bool:
    return row["outcome"] not in ("held", "refused")


def by_caller(caller: str, place: Path, names: list[str] | None = None) -> list[Row]:
    """All that the caller tries; where one attempt hangs the next go on in another process."""
    rows: list[Row] = []
    left = names if names is not None else known()
    number = 0
    while left:
        there = place / f"{caller.replace(' ', '-')}-{number}"
        there.mkdir(parents=True)
        os.chown(there, callers.owner(caller), -1)
        done, began = run_worker(caller, there, left)
        rows += [row | {"caller": caller} for row in done]
        if began is None and not done:
            raise RuntimeError(
                f"{caller}: nothing could be tried: {(there.parent / f'{there.name}.err').read_text()[-800:]}"
            )
        if began is not None:
            rows.append(
                {
                    "name": began,
                    "caller": caller,
                    "outcome": "HUNG",
                    "seconds": SILENT_SECONDS,
                    "detail": "it was ended",
                }
            )
        tried = {row["name"] for row in rows}
        left = [name for name in left if name not in tried]
        number += 1
    return rows


def known() -> list[str]:
    """The names of all attempts of a caller."""
    from caller_worker import attempts

    return list(attempts())


def run_worker(caller: str, place: Path, names: list[str]) -> tuple[list[Row], str | None]:
    """What it has tried, and what it was at when it said nothing more (None: it came to its end)."""
    command, environment = callers.opened(callers.present()[caller], place.parent)
    environment = os.environ | environment | {"PYTHONPATH": os.environ.get("PYTHONPATH") or str(callers.ROOT / "src")}
    with (place.parent / f"{place.name}.err").open("w") as errors:
        process = subprocess.Popen(
            [*command, sys.executable, str(WORKER), str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            cwd=place,
            start_new_session=True,
        )
    cast(IO[bytes], process.stdin).write(json.dumps(names).encode())
    cast(IO[bytes], process.stdin).close()
    done: list[Row] = []
    began: str | None = None
    for line in lines(cast(IO[bytes], process.stdout)):
        message = json.loads(line)
        if "began" in message:
            began = message["began"]
        else:
            done.append(message)
            began = None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return done, began


def lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Whole lines, until the stream ends or is silent for too long."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while selector.select(SILENT_SECONDS):
            chunk = os.read(stream.fileno(), 1 << 16)
            if not chunk:
                return
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        begun = time.monotonic()
        found = strangers(Path(directory))
        print(json.dumps(found | {"seconds": round(time.monotonic() - begun)}, indent=1, ensure_ascii=False))
        sys.exit(1 if found["lost"] else 0)
