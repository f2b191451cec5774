"""Files and directories that are whole or not there, and how they are read again."""
