"""`cryofind view`."""

import os
import socket
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryofind.cli import options
from cryofind.errors import ConfigError

if TYPE_CHECKING:
    from cryofind.view import ViewServer


@click.command()
@click.argument("path", type=options.PATH)
@click.option(
    "--picks", default="", metavar="FILE", help="Other picks than those of PATH; or whose: OBJECT:USER/SESSION."
)
@click.option("--truth", default="", metavar="TRUTH", help="What the picks are shown beside, as for --picks.")
@click.option("--run", help="Which run; by default the first.")
@click.option("--object", "objects", multiple=True, metavar="NAME:RADIUS_A", help="Radius of an object; repeatable.")
@options.tomogram
@options.voxel_size
@options.allow_missing_chunks
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; by default any that is free.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; another needs --token.")
@click.option(
    "--token", envvar="CRYOFIND_VIEW_TOKEN", show_envvar=True, help="Secret in the address; else a random one."
)
@click.option("--no-open", is_flag=True, help="Open no browser.")
def command(
    path: Path,
    picks: str,
    truth: str,
    run: str | None,
    objects: tuple[str, ...],
    port: int,
    host: str,
    token: str | None,
    no_open: bool,
    **chosen: Any,
) -> None:
    """Look at a tomogram and its picks in the browser, until Ctrl-C.

    PATH is a folder written by `cryofind pick`, a project, an MRC file or an OME-Zarr folder; picks are not needed.
    The page is for this computer alone, its address holds a secret, and nothing on it changes a file. Needs the extra
    `view`.
    """
    from cryofind.pipeline import ViewRequest, open_view

    shows_secret = sys.stdout.isatty()
    if not shows_secret and token is None:
        problem = "stdout is no terminal, where alone the address with its secret is shown"
        raise ConfigError("cryofind view", problem, "run it on a terminal, or choose a secret with --token")
    selection = options.build_selection({**chosen, "runs": (run,) if run else ()})
    request = ViewRequest(path, selection, picks, truth, objects)
    with open_view(request, host=host, port=port, token=token) as server:
        try:
            _tell_address(server, shows_secret=shows_secret)
            if shows_secret and not no_open and _has_screen():
                webbrowser.open(server.url)
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo("closed", err=True)


def _tell_address(server: "ViewServer", *, shows_secret: bool) -> None:
    click.echo(server.url if shows_secret else server.url.replace(server.token, "TOKEN"))
    if server.is_loopback:
        tunnel = f"ssh -L {server.port}:{server.name}:{server.port} {socket.gethostname()}"
        click.echo(f"from another computer: {tunnel}, then the same address there")
    click.echo("Ctrl-C ends it")


def _has_screen() -> bool:
    """Say whether a browser would open before the eyes of whoever typed the command."""
    if "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
