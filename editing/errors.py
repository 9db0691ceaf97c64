"""Errors that a user can do something about."""

from typing import Any


class UserError(Exception):
    """What is wrong, and what to do about it, in one clear sentence.

    The runner prints the sentence without a traceback and exits with code 2.
    """


class NonFiniteError(UserError):
    """An optimisation ran into NaN or infinity.

    Attributes:
        last_good: the :class:`editing.editor.Edit` as it was before the step that failed.
    """

    last_good: Any = None
