"""What the command line turns into one line and an exit code; bugs keep their traceback.

UserError                the user's input is wrong                 exit 2
└── UnreachableError     a board, meter or storage does not answer  exit 3
"""


class UserError(ValueError):
    """Wrong input: the message says where, what was wanted, what came, and what to do."""

    exit_code = 2


class UnreachableError(UserError):
    """A board, meter or storage cannot be reached; the message says how to check."""

    exit_code = 3
