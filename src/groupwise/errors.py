"""The one exception a user is meant to read, and one that asks for a second try."""


class UserError(Exception):
    """This error is something the user can mend. The message is one line: what was seen, where, what was expected, what
    to do.

    The command line prints it without a traceback and exits with code 2; from Python it is an ordinary exception.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # whatever data it quotes


class MicroBatchTooLarge(Exception):  # noqa: N818 - it asks for the same again
    """This error says that memory ran out on a micro-batch. The learner has forgotten the gradient and takes smaller
    ones from now on: what was asked of it can be asked again, and means the same."""


class AnswerRewritten(UserError):  # noqa: N818 - a state of the data, and a UserError
    """A chat template drops or changes a part of an answer that is to be learned."""
