"""The command line: flags, configs, errors and exit codes."""
