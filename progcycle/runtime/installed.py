"""Which libraries are installed, and of progcycle's extras which are not."""

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)[^;]*(?:;.*extra *== *['\"]([\w-]+)['\"])?")


@dataclass(frozen=True)
class Extra:
    """An extra of the package.

    Attributes:
        name: as in ``progcycle[name]``.
        libraries: that it installs.
        missing: those that are not there.
    """

    name: str
    libraries: tuple[str, ...]
    missing: tuple[str, ...]


def versions(*libraries: str) -> dict[str, str]:
    """Versions of those libraries that are installed."""
    found = dict[str, str]()
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def requirements(package: str = "progcycle") -> tuple[tuple[str, ...], list[Extra]]:
    """What a package needs and lacks, and its extras; nothing of a package that is not installed.

    Args:
        package: its name.

    Returns:
        Libraries that it needs and that are missing, and the extras in the package's order.
    """
    try:
        lines = requires(package) or []
    except PackageNotFoundError:
        return (), []
    wanted = dict[str, list[str]]()
    for line in lines:
        if match := _REQUIREMENT.match(line):
            wanted.setdefault(match[2] or "", []).append(match[1])
    missing = {extra: tuple(n for n in names if not versions(n)) for extra, names in wanted.items()}
    extras = [Extra(name, tuple(names), missing[name]) for name, names in wanted.items() if name]
    return missing.get("", ()), extras
