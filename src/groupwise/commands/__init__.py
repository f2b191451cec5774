"""One file a command: ``execute(arguments) -> exit code``."""
