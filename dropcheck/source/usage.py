"""What the command line got wrong."""


class UsageError(Exception):
    """A path, target or option value that cannot be meant: what, where in it, what was expected. Exit code 2."""
