"""This module is the process that the viewer asks what another method would have done: ``groupwise explain``, question
after question, so that torch is loaded once."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout

from groupwise.commands.explain import execute
from groupwise.errors import UserError


def main() -> None:
    """Reads a JSON list of words a line, and writes what the command printed, or why it refused."""
    import torch

    torch.set_num_threads(1)  # a run may be at work beside it
    for line in sys.stdin:
        said = io.StringIO()
        try:
            with redirect_stdout(said):
                execute(json.loads(line))
            answer = {"said": said.getvalue()}
        except UserError as error:
            answer = {"error": str(error)}
        except SystemExit:
            answer = {"error": "these words are no question"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
