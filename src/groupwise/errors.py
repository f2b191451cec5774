"""The one exception a user is meant to read."""


class UserError(Exception):
    """Something the user can mend. The message is one line: what was seen, where, what was expected, what to do.

    The command line prints it without a traceback and exits with code 2; from Python it is an ordinary exception.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # whatever data it quotes
