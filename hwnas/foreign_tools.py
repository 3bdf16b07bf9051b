"""Call tools of others that warn, draw progress bars and raise as they like."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from hwnas.errors import UserError


@contextmanager
def quiet_tool(name: str) -> Iterator[None]:
    """Let a tool neither print nor warn; whatever it raises becomes one line that names it.

    Args:
        name: Of its package.

    Raises:
        UserError: Where anything is raised within.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as error:  # compilers have no common class of errors
        first = (str(error).strip() or "failed").splitlines()[0]
        raise UserError(f"{name}: {type(error).__name__}: {first}") from error
    finally:
        logging.disable(disabled)
