"""The ``network`` section of a recipe: which networks there are, and the options of each, as ``{name: ..., ...}``.

Each network's options are defined with it, in ``progcycle.networks``, and found by its name. Keys that all networks
of a recipe have may be set once for all: ``network: {rgb: sum, generator: {skips: false}}``.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    create_model,
    model_serializer,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from progcycle.errors import closest
from progcycle.recipe.grid import written_resolution
from progcycle.recipe.objectives import DiscriminatorTerms
from progcycle.recipe.values import AsTuple
from progcycle.resolution import Resolution
from progcycle.section import Section

if TYPE_CHECKING:
    from progcycle.networks import Network, NetworkOptions, TaskShape

SECTION = "network"
BASE = "pixels per side at stage 0, or of the shorter side, or [height, width]; doubled, it gives the resolution"
Place = tuple[str | int, ...]


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

    def places(self, written: Any) -> dict[Place, Any]:
        """The networks in a value of such a field, by the keys that lead to each; here the value alone."""
        return {(): written}

    def found_in(self, value: Any) -> dict[Place, Any]:
        """The options of the networks in a validated value, by the keys that lead to each."""
        return {(): value}

    def is_place(self, keys: Sequence[str]) -> bool:
        """Whether these keys in a value of such a field lead to a network."""
        return not keys

    def section_at(self, keys: Sequence[Any], written: Any) -> tuple[type[BaseModel] | None, Any, int]:
        """The section that the first of some keys in a value of such a field lead to.

        Args:
            keys: more of them may follow.
            written: the value.

        Returns:
            Its class, None if there is no such network; what is written there; and how many keys led there.
        """
        return self.options_of(written), written, 0

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
            near = closest(str(name), self.networks)
            hint = f"; did you mean {near}?" if near else f"; choose one of {', '.join(sorted(self.networks))}"
            raise ValueError(f"there is no {name!r}{hint}")
        return kind.model_validate({"name": self.default, **written})

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validation by :meth:`validate`; values are written by the rules of their own class."""
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A name, or the options of one of the networks."""
        sections = []
        for name in self.networks:
            options_class: Any = self.options_of(name)
            options = {
                "allOf": [handler(options_class.__pydantic_core_schema__)],
                "properties": {"name": {"const": name}},
            }
            sections.append(options if name == self.default else {**options, "required": ["name"]})
        return {"anyOf": [{"enum": list(self.networks)}, *sections], "default": self.default}


class OwnTerms(DiscriminatorTerms):
    """Options of a discriminator's network together with what it may have of its own; see :func:`with_terms`.

    Attributes:
        plain: class of the network's options alone.
    """

    plain: ClassVar[type[Any]]

    def arguments(self, shape: "TaskShape") -> dict[str, Any]:
        """Keywords of the network's constructor, see :class:`progcycle.networks.NetworkOptions`."""
        own = {key: getattr(self, key) for key in self.plain.model_fields}
        arguments: dict[str, Any] = self.plain.model_construct(**own).arguments(shape)
        return arguments

    def __reduce__(self) -> Any:
        """Of classes that are made as they are needed, pickle can only remember how."""
        return _unpickled, (with_terms, self.plain, self.__getstate__())

    @model_serializer(mode="wrap")
    def _what_is_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        defaults = {key: field.default for key, field in DiscriminatorTerms.model_fields.items()}
        return {k: v for k, v in handler(self).items() if k not in defaults or getattr(self, k) != defaults[k]}


class ByDomain(Section):
    """Discriminators of several domains, each a field.

    Attributes:
        marker: of the field that they are in.
    """

    marker: ClassVar["DiscriminatorsOf"]

    def __reduce__(self) -> Any:
        """See :class:`OwnTerms`."""
        return _unpickled, (_by_domain, self.marker, self.__getstate__())


def _unpickled(make: Callable[[Any], type[BaseModel]], of: Any, state: Any) -> BaseModel:
    kind = make(of)
    section = kind.__new__(kind)
    section.__setstate__(state)
    return section


@functools.cache
def with_terms(options: type["NetworkOptions"]) -> type["NetworkOptions"]:
    """The class of a network's options with the keys of :class:`DiscriminatorTerms` besides.

    Raises:
        TypeError: the network has an option that is called like one of them.
    """
    if both := DiscriminatorTerms.model_fields.keys() & options.model_fields.keys():
        raise TypeError(f"{options.__name__}: {min(both)} is a key that every discriminator has; call it otherwise")
    make: Any = create_model
    made: Any = make(f"{options.__name__}WithTerms", __base__=(OwnTerms, options), __doc__=options.__doc__)
    made.plain = options
    both_kinds: type[NetworkOptions] = made
    return both_kinds


@dataclass(frozen=True)
class DiscriminatorsOf(NetworkOf):
    """What a field for discriminators takes: one, a list of several, or either for each domain.

    Each has the options of its network, and keys of :class:`DiscriminatorTerms`. What comes out has one shape only:
    equal domains are written once, and a list of one is that one.

    Attributes:
        domains: names of the domains that may differ; none where there is one domain only.
    """

    domains: tuple[str, ...] = ()

    def options_of(self, written: Any) -> type["NetworkOptions"] | None:
        """See :meth:`NetworkOf.options_of`."""
        options = super().options_of(written)
        return None if options is None else with_terms(options)

    def differs(self, written: Any) -> bool:
        """Whether a value names domains."""
        return isinstance(written, Mapping) and any(domain in written for domain in self.domains)

    def places(self, written: Any) -> dict[Place, Any]:
        """The networks in a value, by the domain and the number in a list that lead to each, where there are such."""
        if self.differs(written):
            inner: dict[Place, Any] = {(domain,): written.get(domain) for domain in self.domains}
        else:
            inner = {(): written}
        return {(*domain, *rest): one for domain, value in inner.items() for rest, one in _numbered(value).items()}

    def found_in(self, value: Any) -> dict[Place, Any]:
        """See :meth:`NetworkOf.found_in`."""
        if not isinstance(value, self.by_domain):
            return _numbered(value)
        values = {domain: getattr(value, domain) for domain in self.domains}
        return {(domain, *place): one for domain, value in values.items() for place, one in _numbered(value).items()}

    def is_place(self, keys: Sequence[str]) -> bool:
        """See :meth:`NetworkOf.is_place`: a domain, a number in a list, or both, may lead to a network."""
        rest = keys[1:] if keys and keys[0] in self.domains else keys
        return not rest or (len(rest) == 1 and rest[0].isdecimal())

    def section_at(self, keys: Sequence[Any], written: Any) -> tuple[type[BaseModel] | None, Any, int]:
        """See :meth:`NetworkOf.section_at`."""
        used = 0
        if keys and keys[0] in self.domains:
            written, used = written.get(keys[0]) if self.differs(written) else written, 1
        elif self.differs(written):
            return self.by_domain, written, 0
        if len(keys) > used and str(keys[used]).isdecimal():
            number, used = str(keys[used]), used + 1
            several = isinstance(written, list | tuple) or is_opened(written)
            written = at_place(written, (number,)) if several else written if number == "0" else None
        return self.options_of(written), written, used

    @property
    def by_domain(self) -> type[ByDomain]:
        """The section of the domains, each a field like this one."""
        return _by_domain(self)

    def validate(self, value: Any) -> Any:
        """The options of one discriminator, a tuple of those of several, or a section of either by domain.

        Raises:
            ValidationError: of the options.
            ValueError: there is no such network, or none at all.
        """
        if isinstance(value, self.by_domain):
            return value
        if self.differs(value):
            section = self.by_domain.model_validate(value)
            first, *others = (getattr(section, domain) for domain in self.domains)
            return first if all(other == first for other in others) else section
        if isinstance(value, list | tuple):
            if not value:
                raise ValueError("a list of discriminators has one at least")
            found: tuple[Any, ...] = _several(self).validate_python(value)
            return found[0] if len(found) == 1 else found
        return self.validate_one(value)

    def validate_one(self, value: Any) -> "NetworkOptions":
        """The options of one discriminator."""
        if isinstance(value, Section) and not isinstance(value, OwnTerms):
            value = value.model_dump()
        return super().validate(value)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """One of them, several, or either by domain."""
        one = super().__get_pydantic_json_schema__(schema, handler)
        default = one.pop("default")
        several: dict[str, Any] = {"type": "array", "minItems": 1, "items": one}
        forms = [*one["anyOf"], several]
        if self.domains:
            either = {"anyOf": [*one["anyOf"], several]}
            domains = {"properties": dict.fromkeys(self.domains, either), "additionalProperties": False}
            forms.append({"type": "object", "minProperties": 1, **domains})
        return {"anyOf": forms, "default": default}


def _numbered(value: Any) -> dict[Place, Any]:
    """The entries of a list by number, also where the numbers are keys, see :func:`opened`; else the value itself."""
    if isinstance(value, list | tuple):
        return {(i,): one for i, one in enumerate(value)}
    if is_opened(value):
        return {(key,): one for key, one in value.items()}
    return {(): value}


def is_opened(value: Any) -> bool:
    """Whether a value is a list with its numbers as keys."""
    return isinstance(value, Mapping) and bool(value) and all(isinstance(k, str) and k.isdecimal() for k in value)


@functools.cache
def _by_domain(marker: DiscriminatorsOf) -> type[ByDomain]:
    field = Annotated[Any, replace(marker, domains=())]
    default = Field(marker.default, validate_default=True)
    fields: dict[str, Any] = dict.fromkeys(marker.domains, (field, default))
    made = create_model("DiscriminatorsByDomain", __base__=ByDomain, **fields)
    made.marker = marker
    return made


@functools.cache
def _several(marker: DiscriminatorsOf) -> TypeAdapter[tuple[Any, ...]]:
    one = Annotated[Any, PlainValidator(marker.validate_one)]
    return TypeAdapter(Annotated[tuple[one, ...], AsTuple])


def with_each(value: Any, change: Callable[[Any], Any]) -> Any:
    """What a field of :class:`DiscriminatorsOf` holds, with the options of every discriminator changed."""
    if isinstance(value, tuple):
        return tuple(map(change, value))
    if isinstance(value, OwnTerms):
        return change(value)
    domains = {domain: with_each(getattr(value, domain), change) for domain in type(value).model_fields}
    return value.model_copy(update=domains)


def discriminators(value: Any, domain: str = "") -> dict[Place, Any]:
    """The options of all discriminators of a domain, first the one that trains alone where there is one only.

    Args:
        value: what a field of :class:`DiscriminatorsOf` holds.
        domain: of the pictures; "" where there is one only.

    Returns:
        Options by what leads to each in the field: a domain where they differ, a number where there are several.
    """
    there = isinstance(value, ByDomain)
    found = _numbered(getattr(value, domain) if there else value)
    return {(domain, *place): options for place, options in found.items()} if there else found


class NetworkSection(Section):
    """Base of the ``network`` sections; every field marked by :class:`NetworkOf` is a player of the task.

    Attributes:
        has_levels: whether ``base_resolution`` is the coarsest of several levels; else it is the resolution by default
            where no network grows.
    """

    has_levels: ClassVar[bool] = False
    base_resolution: Resolution


class PgganNetwork(NetworkSection):
    """Networks of the unconditional task (Karras et al. 2018, appendix A.1)."""

    base_resolution: Resolution = Field(Resolution(4), description=BASE)
    generator: Annotated[Any, NetworkOf("GENERATORS", "pggan")] = Field("pggan", validate_default=True)
    discriminator: Annotated[Any, DiscriminatorsOf("DISCRIMINATORS", "pggan")] = Field("pggan", validate_default=True)


class CycleganNetwork(NetworkSection):
    """Networks of the translation task: both translators alike; discriminators alike, or by domain."""

    base_resolution: Resolution = Field(
        Resolution(8), description=f"{BASE}; default: 8, or the resolution if no network grows"
    )
    generator: Annotated[Any, NetworkOf("TRANSLATORS", "progressive")] = Field("progressive", validate_default=True)
    discriminator: Annotated[Any, DiscriminatorsOf("DISCRIMINATORS", "progressive", ("a", "b"))] = Field(
        "progressive", validate_default=True
    )


class BeganNetwork(NetworkSection):
    """Networks of BEGAN: a generator shaped like a decoder, and an auto-encoder as the discriminator."""

    base_resolution: Resolution = Field(
        Resolution(8), description=f"{BASE}; default: 8, or the resolution if no network grows"
    )
    generator: Annotated[Any, NetworkOf("DECODERS", "began")] = Field("began", validate_default=True)
    discriminator: Annotated[Any, NetworkOf("AUTOENCODERS", "began")] = Field("began", validate_default=True)


class AutoencoderNetwork(NetworkSection):
    """The network of the autoencoder."""

    base_resolution: Resolution = Field(Resolution(4), description=BASE)
    autoencoder: Annotated[Any, NetworkOf("AUTOENCODERS", "progressive")] = Field("progressive", validate_default=True)


class LapganNetwork(NetworkSection):
    """Networks of a Laplacian pyramid: one pair for the coarsest level, and a like one for each of the others."""

    has_levels: ClassVar[bool] = True
    base_resolution: Resolution = Field(Resolution(8), description="pixels per side of the coarsest level")
    generator: Annotated[Any, NetworkOf("LEVEL_GENERATORS", "lapgan")] = Field("lapgan", validate_default=True)
    discriminator: Annotated[Any, NetworkOf("DISCRIMINATORS", "lapgan")] = Field("lapgan", validate_default=True)
    coarsest_generator: Annotated[Any, NetworkOf("GENERATORS", "lapgan_mlp")] = Field(
        "lapgan_mlp", validate_default=True
    )
    coarsest_discriminator: Annotated[Any, NetworkOf("DISCRIMINATORS", "lapgan_mlp")] = Field(
        "lapgan_mlp", validate_default=True
    )


def players_of(section: type[BaseModel] | None) -> dict[str, NetworkOf]:
    """The players in a ``network`` section, by key."""
    fields = {} if section is None else section.model_fields
    return {
        name: marker for name, field in fields.items() for marker in field.metadata if isinstance(marker, NetworkOf)
    }


def options_in(network: "NetworkSection") -> dict[Place, Any]:
    """The options of all networks of a validated section, by the keys that lead to each: of the player first."""
    return {
        (player, *place): options
        for player, marker in players_of(type(network)).items()
        for place, options in marker.found_in(getattr(network, player)).items()
    }


def places_in(section: type[BaseModel] | None, network: Mapping[Any, Any]) -> dict[Place, tuple[NetworkOf, Any]]:
    """All networks of a section, as written, by the keys that lead to each: of the player first."""
    return {
        (player, *place): (marker, written)
        for player, marker in players_of(section).items()
        for place, written in marker.places(network.get(player)).items()
    }


def at_place(value: Any, place: Place) -> Any:
    """What stands at a place in nested mappings and lists; None where there is nothing."""
    for key in place:
        if isinstance(value, list | tuple):
            value = value[int(key)] if str(key).isdecimal() and int(key) < len(value) else None
        else:
            value = value.get(key) if isinstance(value, Mapping) else None
    return value


def put_at(value: Any, place: Place, new: Any) -> Any:
    """``value`` with something else at a place; mappings that are not there are made."""
    if not place:
        return new
    key, *rest = place
    if isinstance(key, int):
        return [put_at(one, tuple(rest), new) if i == key else one for i, one in enumerate(value)]
    inner = dict(value) if isinstance(value, Mapping) else {}
    return {**inner, key: put_at(inner.get(key), tuple(rest), new)}


def grows(section: type[BaseModel], network: Mapping[Any, Any]) -> bool:
    """Whether a network of a section, as written, grows; one of an unknown name counts as growing, and so do levels."""
    if getattr(section, "has_levels", False):
        return True
    kinds = [marker.kind_of(written) for marker, written in places_in(section, network).values()]
    return any(kind is None or kind.sizes == "growing" for kind in kinds)


def shared_keys(section: type[BaseModel], network: Mapping[Any, Any]) -> dict[Any, list[Place]]:
    """The keys beside the players in a section, as written, and where a network has such an option."""
    kinds = {place: marker.options_of(written) for place, (marker, written) in places_in(section, network).items()}
    shared = [key for key in network if key not in section.model_fields and key != "name"]
    return {key: [place for place, kind in kinds.items() if kind and key in kind.model_fields] for key in shared}


def is_for_all(section: type[BaseModel], having: Iterable[Place]) -> bool:
    """Whether a key beside the players means something to all of them: to some network of each.

    Args:
        section: class of the section.
        having: where a network has such an option.
    """
    return {place[0] for place in having} >= players_of(section).keys()


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

    Keys for all networks go to each that has them, where it has no value of its own, or an empty one. Defaults that
    depend on the resolution are filled in. Keys that none of a player's networks has stay where they are, where
    validation refuses them, and so does a key for all that each network has its own value for.

    Args:
        section: class of the section.
        network: as written; anything but a mapping comes back as it is.
        resolution: as written.
    """
    if not isinstance(network, Mapping):
        return network
    found = places_in(section, network)
    if any(not isinstance(value, str | Mapping | None) for _, value in found.values()):
        return network
    own: dict[Place, dict[Any, Any]] = {
        place: {"name": value} if isinstance(value, str) else dict(value or {}) for place, (_, value) in found.items()
    }
    kinds = {place: marker.options_of(own[place]) for place, (marker, _) in found.items()}
    for place, kind in kinds.items():
        fields = {} if kind is None else kind.model_fields
        own[place] = {
            key: value
            for key, value in own[place].items()
            if value is not None or key not in fields or key not in network
        }
    rest = dict(network)
    if None in kinds.values():  # validation reports that name; the other keys cannot be checked
        markers = players_of(section).values()
        known = {key for m in markers for kind in m.networks.values() for key in kind.Options.model_fields}
        rest = {key: value for key, value in rest.items() if key in section.model_fields or key not in known}
    else:
        for key, having in shared_keys(section, network).items():
            value = network[key]
            idle = any(all(has_path(own[p], (key, *path)) for p in having) for path in leaves(value))
            if not is_for_all(section, having) or idle:
                continue
            del rest[key]
            for place in having:
                own[place][key] = with_shared(value, own[place].get(key, value))
        if (size := written_resolution(resolution)) is not None:
            for place, kind in kinds.items():
                own[place] = {**(kind.defaults(size) if kind else {}), **own[place]}
            if own and not grows(section, functools.reduce(_put_own, own.items(), network)):
                rest.setdefault("base_resolution", size.plain)
    return functools.reduce(_put_own, own.items(), rest)


def _put_own(network: Mapping[Any, Any], own: tuple[Place, Any]) -> Any:
    return put_at(network, *own)
