"""The command line: options and commands, and no logic of their own."""
