"""This package keeps files and directories that are whole or not there, and reads them again."""
