"""What a refusal must be: one sentence."""

from collections.abc import Callable
from typing import Any

import pytest

from progcycle.errors import UserError


def refused(call: Callable[[], Any]) -> str:
    """The sentence with which a call is refused; it is on one line and ends like a sentence."""
    with pytest.raises(UserError) as caught:
        call()
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def sentence_of(text: str) -> str:
    """What a command has printed, which is one sentence on one line."""
    assert text.strip().count("\n") == 0, text
    assert text.strip().endswith("."), text
    return text.strip()
