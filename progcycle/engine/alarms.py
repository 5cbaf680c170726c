"""Alarms: signs that a run learns nothing good. They are told and logged, and change nothing of the training."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from progcycle.blocks import colour_inversion
from progcycle.tasks import Shown, Watched

SATURATED = 0.05  # of the loss of a discriminator that cannot tell
VARIATION = 0.1  # of that of real pictures
COPY = 0.1  # of the distance to real pictures of the other domain
INVERSION = 0.3  # minus the correlation of colours


class Patience(NamedTuple):
    """How long a sign must last, without a break: so many looks, and a share of the plan but at most so many kimg."""

    looks: int
    share: float
    kimg: float


# Translators that predict a change begin as copies, and may take their time to dare something.
PATIENCE = {
    "saturated": Patience(3, 0.02, 20.0),
    "collapse": Patience(3, 0.02, 20.0),
    "copy": Patience(4, 0.2, 50.0),
    "inversion": Patience(3, 0.05, 30.0),
}


class Sign(NamedTuple):
    """One look at something: whether it is bad, and what is seen, in words."""

    bad: bool
    words: str


class Alarms:
    """Remembers signs until they have lasted long enough for an alarm.

    Args:
        total: pictures of the whole plan.
        say: told when an alarm begins and when it ends.
    """

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self.total, self.say = total, say
        # By name, such as ``copy/gen_ab``: since how many pictures it is bad, the looks since then, and whether told.
        self.signs: dict[str, tuple[int, int, bool]] = {}

    def look(self, nimg: int, signs: Mapping[str, Sign]) -> None:
        """Take in what is seen after ``nimg`` pictures; names of signs are ``<kind>/<network>``, see ``PATIENCE``."""
        for name, sign in signs.items():
            since, looks, told = self.signs.pop(name, (nimg, 0, False))
            if not sign.bad:
                if told:
                    self.say(f"alarm over: {name} at {nimg / 1000:g} kimg: {sign.words}")
                continue
            patience = PATIENCE[name.partition("/")[0]]
            enough = min(patience.share * self.total, 1000 * patience.kimg)
            begins = not told and looks + 1 >= patience.looks and nimg - since >= enough
            if begins:
                self.say(f"alarm: {name} since {since / 1000:g} kimg: {sign.words}")
            self.signs[name] = since, looks + 1, told or begins

    def figures(self) -> dict[str, float]:
        """``alarm/<name>``: 1 for every alarm that lasts."""
        return {f"alarm/{name}": 1 for name, (_, _, told) in sorted(self.signs.items()) if told}

    def state_dict(self) -> dict[str, Any]:
        """All signs that last, as JSON."""
        return {name: list(sign) for name, sign in self.signs.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.signs = {name: (int(since), int(looks), bool(told)) for name, (since, looks, told) in state.items()}


def saturation(figures: Mapping[str, float], watched: Mapping[str, Watched]) -> dict[str, Sign]:
    """Whether discriminators tell real from fake perfectly, so that nothing is to be learned from them.

    Args:
        figures: means since the last status line.
        watched: losses of discriminators by their name, see :attr:`Task.watched`.
    """
    signs = {}
    for name, (figure, undecided) in watched.items():
        if figure in figures:
            value = figures[figure]
            words = f"the discriminator's loss is {value:.2g}, and {undecided:.2g} where it cannot tell real from fake"
            signs[f"saturated/{name}"] = Sign(value < SATURATED * undecided, words)
    return signs


def of_pictures(shown: Mapping[str, Shown]) -> dict[str, Sign]:
    """Collapse, copy and inversion of what networks made of a panel; each where it can be seen.

    Args:
        shown: pictures by network, see :meth:`Task.shown`.
    """
    signs = {}
    for network, (made, like, source) in shown.items():
        if len(made) > 1 and len(like) > 1 and (real := _variation(like)) > 0:
            share = _variation(made) / real
            words = f"its pictures differ from each other by {share:.2g} of what real ones do"
            signs[f"collapse/{network}"] = Sign(share < VARIATION, words)
        if source is None or source.shape != made.shape or source.shape != like.shape:
            continue
        if (away := _distance(like, source)) > 0:
            share = _distance(made, source) / away
            words = f"it changes pictures by {share:.2g} of their distance to real ones of the other domain"
            signs[f"copy/{network}"] = Sign(share < COPY, words)
        inversion = colour_inversion(source, made)
        words = f"the correlation of colours before and after is {-inversion:.2f}"
        signs[f"inversion/{network}"] = Sign(inversion > INVERSION, words)
    return signs


def _variation(pictures: Tensor) -> float:
    """Standard deviation over the pictures, averaged over channels and pixels.  # [N, C, H, W]"""
    return float(pictures.float().std(dim=0).mean())


def _distance(x: Tensor, y: Tensor) -> float:
    return float((x.float() - y.float()).abs().mean())
