"""Errors meant for people: one sentence saying what is wrong, where, and what to do."""


class UserError(Exception):
    """Bad input (a path, a picture, a checkpoint, a combination of recipe values).

    Commands print its single sentence and leave with exit code 2, without a traceback.
    """
