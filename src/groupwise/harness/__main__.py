"""``python -m groupwise.harness ARGUMENTS`` is the command ``lm_eval ARGUMENTS`` that knows the model ``groupwise``.

An lm-eval that finds models of other packages by itself (entry point ``lm_eval.models``) needs no such command.
"""

from groupwise.harness.version import refuse_version


def main() -> None:
    """Runs lm-eval's own command line. Raises UserError where lm-eval is missing or too old."""
    refuse_version()
    from lm_eval.__main__ import cli_evaluate

    import groupwise.harness.model  # noqa: F401 - registers the model

    cli_evaluate()


if __name__ == "__main__":
    main()
