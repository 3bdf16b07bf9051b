"""What the command line turns into one line and an exit code; bugs keep their traceback.

UserError                    the user's input is wrong                  exit 2
├── UnreachableError         a board, meter or storage does not answer  exit 3
└── LatencyUnreachableError  no pruning makes a network fast enough     exit 2
"""

import errno

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(ValueError):
    """Wrong input: the message says where, what was wanted, what came, and what to do.

    Args:
        message: Made one printable line, whatever a library or a file put into it.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        line = " ".join(message.splitlines())
        super().__init__("".join(c if c.isprintable() else _escaped(c) for c in line))


class UnreachableError(UserError):
    """A board, meter or storage cannot be reached; the message says how to check."""

    exit_code = 3


class LatencyUnreachableError(UserError):
    """No pruning makes a network fast enough; the message says how fast the fastest is."""


def is_disk_full(error: OSError) -> bool:
    """Return whether there is no room for what was to be written."""
    return error.errno in _DISK_FULL


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
