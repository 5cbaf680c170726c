"""Alarms: warnings that a run is not learning. They are logged and recorded, and do not change the training."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from progcycle.blocks import colour_inversion
from progcycle.tasks import Shown, Watched

SATURATED = 0.05  # share of the loss of a discriminator at chance level
VARIATION = 0.1  # share of the variation of real pictures
COPY = 0.1  # share of the distance to real pictures of the other domain
INVERSION = 0.3  # minus the correlation of colours


class Patience(NamedTuple):
    """How long a bad sign must last without a break before it becomes an alarm.

    Attributes:
        checks: consecutive checks that find it.
        share: share of the plan that it lasts.
        kimg: thousands of pictures that are enough, however long the plan.
    """

    checks: int
    share: float
    kimg: float


# Translators that predict a change start as copies of their input, and need time to leave it.
PATIENCE = {
    "saturated": Patience(3, 0.02, 20.0),
    "collapse": Patience(3, 0.02, 20.0),
    "copy": Patience(4, 0.2, 50.0),
    "inversion": Patience(3, 0.05, 30.0),
}


class Observation(NamedTuple):
    """The result of one check.

    Attributes:
        bad: whether it is a bad sign.
        description: what was measured, as a clause for people.
    """

    bad: bool
    description: str


class Alarms:
    """Raises an alarm once a bad sign has lasted long enough, and ends it when the sign is gone.

    Args:
        total: pictures of the whole plan.
        report: called with a sentence when an alarm begins and when it ends.

    Attributes:
        lasting: bad signs by name, such as ``copy/gen_ab``: since how many pictures, at how many checks, and whether an
            alarm was raised.
    """

    def __init__(self, total: int, report: Callable[[str], None]) -> None:
        self.total, self.report = total, report
        self.lasting: dict[str, tuple[int, int, bool]] = {}

    def update(self, nimg: int, observations: Mapping[str, Observation]) -> None:
        """Record the results of checks after ``nimg`` pictures.

        Args:
            nimg: pictures shown.
            observations: by name, ``<kind>/<network>``, with a kind of ``PATIENCE``.
        """
        for name, observation in observations.items():
            since, checks, raised = self.lasting.pop(name, (nimg, 0, False))
            if not observation.bad:
                if raised:
                    self.report(f"alarm over: {name} at {nimg / 1000:g} kimg: {observation.description}")
                continue
            patience = PATIENCE[name.partition("/")[0]]
            enough = min(patience.share * self.total, 1000 * patience.kimg)
            begins = not raised and checks + 1 >= patience.checks and nimg - since >= enough
            if begins:
                self.report(f"alarm: {name} since {since / 1000:g} kimg: {observation.description}")
            self.lasting[name] = since, checks + 1, raised or begins

    def figures(self) -> dict[str, float]:
        """``alarm/<name>``: 1 for every alarm that is active."""
        return {f"alarm/{name}": 1 for name, (_, _, raised) in sorted(self.lasting.items()) if raised}

    def state_dict(self) -> dict[str, Any]:
        """All bad signs that last, as JSON."""
        return {name: list(sign) for name, sign in self.lasting.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.lasting = {name: (int(since), int(checks), bool(on)) for name, (since, checks, on) in state.items()}


def check_saturation(figures: Mapping[str, float], watched: Mapping[str, Watched]) -> dict[str, Observation]:
    """Check whether a discriminator separates real from fake so well that the generator learns nothing from it.

    Args:
        figures: means since the last status line.
        watched: losses of discriminators by their name, see :attr:`Task.watched`.
    """
    found = {}
    for name, (figure, at_chance) in watched.items():
        if figure in figures:
            value = figures[figure]
            description = (
                f"the discriminator has all but won: its loss is {value:.2g}, and a discriminator that guesses has "
                f"{at_chance:.2g}"
            )
            found[f"saturated/{name}"] = Observation(value < SATURATED * at_chance, description)
    return found


def check_samples(shown: Mapping[str, Shown]) -> dict[str, Observation]:
    """Check samples for mode collapse, copied input and inverted colours, each where it can be measured.

    Args:
        shown: pictures by network, see :meth:`Task.shown`.
    """
    found = {}
    for network, (made, like, source) in shown.items():
        if len(made) > 1 and len(like) > 1 and (real := _variation(like)) > 0:
            share = _variation(made) / real
            description = f"its pictures vary {share:.2g} times as much as real ones"
            found[f"collapse/{network}"] = Observation(share < VARIATION, description)
        if source is None or source.shape != made.shape or source.shape != like.shape:
            continue
        if (away := _distance(like, source)) > 0:
            share = _distance(made, source) / away
            description = f"its pictures differ from their sources by {share:.2g} of the distance between the domains"
            found[f"copy/{network}"] = Observation(share < COPY, description)
        inversion = colour_inversion(source, made)
        description = f"the colours before and after have a correlation of {-inversion:.2f}"
        found[f"inversion/{network}"] = Observation(inversion > INVERSION, description)
    return found


def _variation(pictures: Tensor) -> float:
    """Standard deviation over the pictures, averaged over channels and pixels.  # [N, C, H, W]"""
    return float(pictures.float().std(dim=0).mean())


def _distance(x: Tensor, y: Tensor) -> float:
    return float((x.float() - y.float()).abs().mean())
