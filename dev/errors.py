"""What can stop the stack, each with the way out in its text."""


class DevError(Exception):
    """The stack cannot go on. The text says why, and what to do."""


class UnsupportedSystemError(DevError):
    """This machine lacks something that the stack cannot bring along."""


class CommandFailedError(DevError):
    """A command that the stack runs ended with an error; the text ends with the tail of its output."""


class UnhealthyError(DevError):
    """A part does not answer as it should; the text is what `make status` shows."""
