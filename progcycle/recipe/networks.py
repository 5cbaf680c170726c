"""The ``network`` section of a recipe: which networks there are, and the options of each, as ``{name: ..., ...}``.

Each network's options are defined with it, in ``progcycle.networks``, and found by its name. Keys that all networks
of a recipe have may be set once for all: ``network: {rgb: sum, generator: {skips: false}}``.
"""

import difflib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from progcycle.recipe.values import Resolution
from progcycle.section import Section

if TYPE_CHECKING:
    from progcycle.networks import Network, NetworkOptions

SECTION = "network"


@dataclass(frozen=True)
class NetworkOf:
    """What a field of a ``network`` section takes: the options of one network out of a dict of ``progcycle.networks``.

    The dict is read when a recipe is validated, so programs may add entries before; until then torch is not imported.

    Attributes:
        registry: name of the dict.
        default: name of the network where none is given.
    """

    registry: str
    default: str

    @property
    def networks(self) -> dict[str, type["Network"]]:
        """The networks by name."""
        from progcycle import networks

        found: dict[str, type[Network]] = getattr(networks, self.registry)
        return found

    def name_in(self, written: Any) -> Any:
        """The name of the network in a value of such a field."""
        return written.get("name", self.default) if isinstance(written, Mapping) else written or self.default

    def kind_of(self, written: Any) -> type["Network"] | None:
        """The network that a value of such a field names; None if there is none of that name."""
        name = self.name_in(written)
        return self.networks.get(name) if isinstance(name, str) else None

    def options_of(self, written: Any) -> type["NetworkOptions"] | None:
        """The class of options that a value of such a field is of; None if there is no such network."""
        kind = self.kind_of(written)
        return None if kind is None else kind.Options

    def validate(self, value: Any) -> "NetworkOptions":
        """The options; a lone text is short for the name.

        Raises:
            ValidationError: of the options.
            ValueError: there is no such network.
        """
        from progcycle.networks import NetworkOptions

        if isinstance(value, NetworkOptions):
            return value
        written = {"name": value} if isinstance(value, str) else value
        if not isinstance(written, Mapping):
            raise PydanticCustomError("model_type", "a name, or a section of keys and values")
        kind = self.options_of(written)
        if kind is None:
            name = self.name_in(written)
            near = difflib.get_close_matches(str(name), self.networks, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; choose one of {', '.join(sorted(self.networks))}"
            raise ValueError(f"there is no {name!r}{hint}")
        return kind.model_validate({"name": self.default, **written})

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validation by :meth:`validate`; values are written by the rules of their own class."""
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A name, or the options of one of the networks."""
        sections = []
        for name, kind in self.networks.items():
            options = {
                "allOf": [handler(kind.Options.__pydantic_core_schema__)],
                "properties": {"name": {"const": name}},
            }
            sections.append(options if name == self.default else {**options, "required": ["name"]})
        return {"anyOf": [{"enum": list(self.networks)}, *sections], "default": self.default}


class NetworkSection(Section):
    """Base of the ``network`` sections; every field marked by :class:`NetworkOf` is a player of the task."""

    base_resolution: Resolution


class PgganNetwork(NetworkSection):
    """Networks of the unconditional task (Karras et al. 2018, appendix A.1)."""

    base_resolution: Resolution = Field(4, description="pixels per side at stage 0")
    generator: Annotated[Any, NetworkOf("GENERATORS", "pggan")] = Field("pggan", validate_default=True)
    discriminator: Annotated[Any, NetworkOf("DISCRIMINATORS", "pggan")] = Field("pggan", validate_default=True)


class CycleganNetwork(NetworkSection):
    """Networks of the translation task: both translators alike, both discriminators alike."""

    base_resolution: Resolution = Field(
        8, description="pixels per side at stage 0; default: 8, or the resolution if no network grows"
    )
    generator: Annotated[Any, NetworkOf("TRANSLATORS", "progressive")] = Field("progressive", validate_default=True)
    discriminator: Annotated[Any, NetworkOf("DISCRIMINATORS", "progressive")] = Field(
        "progressive", validate_default=True
    )


def players_of(section: type[BaseModel] | None) -> dict[str, NetworkOf]:
    """The players in a ``network`` section, by key."""
    fields = {} if section is None else section.model_fields
    return {
        name: marker for name, field in fields.items() for marker in field.metadata if isinstance(marker, NetworkOf)
    }


def grows(section: type[BaseModel], network: Mapping[Any, Any]) -> bool:
    """Whether a network of a section, as written, grows; one of an unknown name counts as growing."""
    kinds = [marker.kind_of(network.get(player)) for player, marker in players_of(section).items()]
    return any(kind is None or kind.sizes == "growing" for kind in kinds)


def shared_keys(section: type[BaseModel], network: Mapping[Any, Any]) -> dict[Any, list[str]]:
    """The keys for all networks in a section, as written, and the players whose network has such an option."""
    options = {player: marker.options_of(network.get(player)) for player, marker in players_of(section).items()}
    shared = [key for key in network if key not in section.model_fields and key != "name"]
    return {key: [p for p, kind in options.items() if kind and key in kind.model_fields] for key in shared}


def keys_for_all(section: type[BaseModel]) -> dict[str, type["NetworkOptions"]]:
    """The keys that some recipe may set for all networks, and a class of options that has each."""
    found: dict[str, type[NetworkOptions]] = {}
    players = [[kind.Options for kind in marker.networks.values()] for marker in players_of(section).values()]
    if not players:
        return found
    for choice in itertools.product(*players):
        for key in set.intersection(*(set(options.model_fields) for options in choice)) - {"name"}:
            found.setdefault(key, choice[0])
    return dict(sorted(found.items()))


def with_shared(shared: Any, own: Any) -> Any:
    """A network's own value, completed from a value for all networks."""
    if not isinstance(own, Mapping) or not isinstance(shared, Mapping):
        return own
    return {**shared, **{key: with_shared(shared.get(key), value) for key, value in own.items()}}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values in nested mappings that are no mappings themselves."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    else:
        yield path


def has_path(value: Any, path: tuple[Any, ...]) -> bool:
    """Whether nested mappings hold a value at a path, or a lone one above it."""
    for key in path:
        if not isinstance(value, Mapping):
            return True
        if key not in value:
            return False
        value = value[key]
    return True


def complete_network(section: type[BaseModel], network: Any, resolution: Any) -> Any:
    """A ``network`` section, before validation, with the complete options of every player.

    Keys for all networks go to each, where it has no value of its own, or an empty one. Defaults that depend on the
    resolution are filled in. Keys that not all networks have stay where they are, where
    validation refuses them, and so does a key for all that each network has its own value for.

    Args:
        section: class of the section.
        network: as written; anything but a mapping comes back as it is.
        resolution: as written.
    """
    if not isinstance(network, Mapping):
        return network
    players = players_of(section)
    written = {player: network.get(player) for player in players}
    if any(not isinstance(value, str | Mapping | None) for value in written.values()):
        return network
    own = {p: {"name": value} if isinstance(value, str) else dict(value or {}) for p, value in written.items()}
    kinds = {player: marker.options_of(own[player]) for player, marker in players.items()}
    for player, kind in kinds.items():
        fields = {} if kind is None else kind.model_fields
        own[player] = {
            key: value
            for key, value in own[player].items()
            if value is not None or key not in fields or key not in network
        }
    rest = dict(network)
    if None in kinds.values():  # validation reports that name; the other keys cannot be checked
        known = {key for m in players.values() for kind in m.networks.values() for key in kind.Options.model_fields}
        rest = {key: value for key, value in rest.items() if key in section.model_fields or key not in known}
    else:
        for key, having in shared_keys(section, network).items():
            value = network[key]
            paths = list(leaves(value))
            idle = any(all(has_path(own[p], (key, *path)) for p in players) for path in paths)
            if len(having) < len(players) or idle:
                continue
            del rest[key]
            for player in players:
                own[player][key] = with_shared(value, own[player].get(key, value))
        if isinstance(resolution, int) and not isinstance(resolution, bool):
            for player, kind in kinds.items():
                own[player] = {**(kind.defaults(resolution) if kind else {}), **own[player]}
            if players and not grows(section, {**network, **own}):
                rest.setdefault("base_resolution", resolution)
    return {**rest, **own}
