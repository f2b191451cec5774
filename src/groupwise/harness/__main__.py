"""``python -m groupwise.harness ARGUMENTS`` is the command ``lm_eval ARGUMENTS`` that knows the model ``groupwise``."""

from groupwise.harness.version import refuse_version

if __name__ == "__main__":
    refuse_version()
    from lm_eval.__main__ import cli_evaluate

    import groupwise.harness.model  # noqa: F401 - registers the model

    cli_evaluate()
