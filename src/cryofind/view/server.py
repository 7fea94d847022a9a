"""The web server of a viewer: on this computer alone unless told otherwise, behind a secret in the address."""

import errno
import ipaddress
import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cryofind.errors import ConfigError
from cryofind.view.drawing import draw_scene
from cryofind.view.scene import Scene

logger = logging.getLogger("cryofind")

LOOPBACK = "127.0.0.1"
MIN_TOKEN_LENGTH = 16
_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{{MIN_TOKEN_LENGTH},}}")
# Names by which a browser on this computer, or at the other end of an ssh tunnel, asks for a loopback address. One who
# asks by another name was led here by a foreign page (DNS rebinding).
_LOOPBACK_NAMES = r"(127\.\d+\.\d+\.\d+|localhost|\[?::1\]?)$"


def require_neuroglancer() -> None:
    """Refuse to show anything without Neuroglancer.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    root = logging.getLogger()
    handlers = list(root.handlers)
    try:
        import neuroglancer  # noqa: F401

        root.handlers[:] = handlers  # it would have every line of ours shown twice
    except ImportError as problem:
        advice = "install it: pip install 'cryofind[view]'"
        raise ConfigError("cryofind view", "needs the package neuroglancer, which is missing", advice) from problem


def is_loopback(host: str) -> bool:
    """Say whether a host is this computer and can be reached from it alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(eq=False)
class ViewServer:
    """A server that listens; it shows nothing but what `show` was given, and cannot change a file.

    Parameters
    ----------
    host
        Address that it listens on.
    server
        Neuroglancer's server.
    token
        Secret in the address.
    """

    host: str
    server: Any
    token: str
    _viewer: Any = field(default=None, init=False)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server.port)

    @property
    def is_loopback(self) -> bool:
        """Whether it can be reached from this computer alone."""
        return is_loopback(self.host)

    @property
    def viewer(self) -> Any:
        """Neuroglancer's viewer, after `show`."""
        return self._viewer

    @property
    def name(self) -> str:
        """What addresses call the host."""
        name = socket.gethostname() if self.host in {"", "0.0.0.0", "::"} else self.host
        return f"[{name}]" if ":" in name else name

    @property
    def url(self) -> str:
        """The address of the page, which holds the secret."""
        return f"http://{self.name}:{self.port}/v/{self.token}/"

    def show(self, scene: Scene) -> None:
        """Show a scene instead of what was shown before."""
        from neuroglancer.viewer_base import ViewerBase

        # A page may ask for this computer's cloud credentials if allowed to.
        self._viewer = ViewerBase(token=self.token, allow_credentials=False)
        self._viewer.set_state(draw_scene(scene))
        self.server.viewers[self.token] = self._viewer


@contextmanager
def open_server(host: str = LOOPBACK, port: int = 0, token: str | None = None) -> Iterator[ViewServer]:
    """Listen until the context ends.

    Parameters
    ----------
    host
        Address to listen on; another than a loopback one needs a token.
    port
        0 for any that is free.
    token
        Secret in the address, at least 16 letters, digits, `-` and `_`; a random one when None.

    Raises
    ------
    ConfigError
        If Neuroglancer is not installed, the address cannot be used, or a token is missing or too simple.
    """
    require_neuroglancer()
    if token is not None and not _TOKEN.fullmatch(token):
        problem = "is too simple"
        raise ConfigError("--token", problem, f"give at least {MIN_TOKEN_LENGTH} letters, digits, '-' and '_'")
    if token is None and not is_loopback(host):
        advice = "leave --host out and use the line with ssh that is printed, or choose a secret with --token"
        raise ConfigError(f"--host {host}", "would show the tomogram to other computers", advice)
    if not is_loopback(host):
        logger.warning("other computers can reach this page; who reads the address on its way, unencrypted, can look")
    from neuroglancer.random_token import make_random_token
    from neuroglancer.server import Server

    # It would log the address, and so the secret, of every request that it cannot answer.
    logging.getLogger("tornado").setLevel(logging.CRITICAL + 1)
    host = LOOPBACK if host == "localhost" else host
    try:
        _try_to_bind(host, port)
        server = Server(bind_address=host, bind_port=port)
    except (OSError, UnicodeError) as error:  # the latter of a host that cannot be a name
        raise _refused(host, port, error) from error
    try:
        if is_loopback(host):
            _answer_to_loopback_names_only(server)
        yield ViewServer(host, server, token or make_random_token())
    finally:
        server.stop()


def _try_to_bind(host: str, port: int) -> None:
    """Fail as listening would, but without the socket that the server then leaves open."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _refused(host: str, port: int, error: OSError | UnicodeError) -> ConfigError:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return ConfigError(f"--port {port}", "is in use", "choose another, or leave it out for any that is free")
    if number == errno.EACCES:
        return ConfigError(f"--port {port}", "is not allowed to you", "choose one above 1023")
    reason = getattr(error, "strerror", None) or error
    return ConfigError(f"--host {host}", f"cannot be listened on ({reason})", "give an address of this computer")


def _answer_to_loopback_names_only(server: Any) -> None:
    from tornado.routing import HostMatches

    for rule in server.app.default_router.rules:
        rule.matcher = HostMatches(_LOOPBACK_NAMES)
