"""Names for interchangeable parts: a dictionary, filled by the package and by plug-ins through entry points."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from cryofind.errors import ConfigError, advise_known_names

Factory = Callable[..., Any]


class Registry:
    """Factories by name, for one kind of part.

    Parameters
    ----------
    kind
        What the parts are, in the singular, for messages: `network`, `loss`.
    entry_point_group
        Group of `importlib.metadata` entry points whose members are added on first use.
    """

    def __init__(self, kind: str, entry_point_group: str) -> None:
        self._kind = kind
        self._group = entry_point_group
        self._factories: dict[str, Factory] = {}
        self._plug_ins_are_loaded = False

    def register(self, name: str) -> Callable[[Factory], Factory]:
        """Return a decorator that files a factory under `name`."""

        def add(factory: Factory) -> Factory:
            if name in self._factories:
                raise ValueError(f"{self._kind} '{name}' is registered twice")
            self._factories[name] = factory
            return factory

        return add

    def names(self) -> tuple[str, ...]:
        """Return all known names, plug-ins included, sorted."""
        self._load_plug_ins()
        return tuple(sorted(self._factories))

    def get(self, name: str) -> Factory:
        """Return the factory of that name.

        Raises
        ------
        ConfigError
            If there is none, with the nearest known name.
        """
        if name not in self._factories:
            self._load_plug_ins()
        if name not in self._factories:
            known = self.names()
            raise ConfigError(f"{self._kind} '{name}'", "is not known", advise_known_names(name, known))
        return self._factories[name]

    def _load_plug_ins(self) -> None:
        if self._plug_ins_are_loaded:
            return
        self._plug_ins_are_loaded = True
        for entry_point in entry_points(group=self._group):
            self._factories.setdefault(entry_point.name, entry_point.load())


NETWORKS = Registry("network", "cryofind.networks")
LOSSES = Registry("loss", "cryofind.losses")
