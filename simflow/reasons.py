"""The errors of other programs in a few words, to be put into a sentence of ours."""


def reason(error: BaseException) -> str:
    """The first line of what an error says; its kind, if it says nothing.

    >>> reason(OSError("gone\\nfor good")), reason(RuntimeError())
    ('gone', 'RuntimeError')
    """
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
