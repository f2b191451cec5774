"""This package has one file a command: ``execute(arguments) -> exit code``."""
