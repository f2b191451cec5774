"""``groupwise-lm-eval ARGUMENTS``, or ``python -m groupwise.harness ARGUMENTS``, is the command ``lm_eval ARGUMENTS``
that knows the model ``groupwise``.

An lm-eval that finds models of other packages by itself (entry point ``lm_eval.models``) needs no such command.
"""

from __future__ import annotations

import sys

from groupwise.errors import UserError
from groupwise.harness.version import refuse_version
from groupwise.output.printable import visible


def main() -> int:
    """Runs lm-eval's own command line. Exit codes: 0 done, 2 something the user can mend."""
    try:
        refuse_version()
        from lm_eval.__main__ import cli_evaluate

        import groupwise.harness.model  # noqa: F401 - registers the model

        cli_evaluate()
    except UserError as error:
        print(visible(f"groupwise-lm-eval: {error}"), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
