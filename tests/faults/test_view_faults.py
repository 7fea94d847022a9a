"""What the viewer refuses, each with one line; and who it does not answer."""

import http.client
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from cryofind.atomic import write_json
from cryofind.io import write_mrc
from cryofind.types import Picks, Tomogram, VoxelGrid
from cryofind.view import GreyVolume, Scene, open_server
from tests.e2e.conftest import Run, run

__all__ = ["run"]

TOKEN = "0123456789abcdef"
GRID = VoxelGrid.isotropic((8, 8, 8), 10.0)


@pytest.fixture
def tomogram(tmp_path: Path) -> Path:
    write_mrc(tmp_path / "a.mrc", Tomogram("a", np.zeros(GRID.shape_zyx, np.float32), GRID))
    return tmp_path / "a.mrc"


def refuse(run: Run, *arguments: object, token: str | None = TOKEN) -> str:
    """Return the one line of an error."""
    secret = ("--token", token) if token is not None else ()
    code, out, err = run("--quiet", "view", *arguments, *secret)
    lines = [line for line in err.splitlines() if "warning:" not in line]
    assert (code, out, len(lines)) == (2, "", 1), (code, out, err)
    return lines[0]


def test_a_port_in_use(run: Run, tomogram: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refuse(run, tomogram, "--port", port)
    assert line == f"cryofind: error: --port {port}: is in use; choose another, or leave it out for any that is free"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "some-host"])
def test_other_computers_only_with_a_token(
    run: Run, tomogram: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    line = refuse(run, tomogram, "--host", host, token=None)
    assert f"--host {host}: would show the tomogram to other computers" in line


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a..b"])
def test_an_address_that_is_not_ours(run: Run, tomogram: Path, host: str) -> None:
    assert f"--host {host}: cannot be listened on (" in refuse(run, tomogram, "--host", host)


@pytest.mark.parametrize("token", ["", "short", "0123456789abcde/", "0123456789abcdef\n", "0123456789 abcdef"])
def test_a_token_that_is_too_simple(run: Run, tomogram: Path, token: str) -> None:
    assert "--token: is too simple" in refuse(run, tomogram, token=token)


def test_without_the_extra(run: Run, tomogram: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "neuroglancer", None)
    line = refuse(run, tomogram)
    assert "needs the package neuroglancer" in line
    assert line.endswith("install it: pip install 'cryofind[view]'")


def test_no_secret_is_written_where_no_terminal_is(run: Run, tomogram: Path) -> None:
    assert "run it on a terminal, or choose a secret with --token" in refuse(run, tomogram, token=None)


def test_nothing_to_look_at(run: Run, tomogram: Path, tmp_path: Path) -> None:
    assert "does not exist" in refuse(run, tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "holds no tomograms" in refuse(run, tmp_path / "empty")
    picks = Picks.build(["A", "B"], "ribosome", [[1, 2, 3], [4, 5, 6]])
    picks.to_csv(tmp_path / "picks.csv")
    line = refuse(run, tmp_path / "picks.csv")
    assert f"holds picks, no tomogram; give the tomogram, and these as --picks {tmp_path / 'picks.csv'}" in line
    assert "has no picks of run 'a'" in refuse(run, tomogram, "--picks", tmp_path / "picks.csv")
    assert "does not exist" in refuse(run, tomogram, "--picks", "*:curation/0")
    assert "tomogram 'wbp': matches nothing" in refuse(run, tomogram, "--tomogram", "wbp")
    assert "is not NAME:RADIUS" in refuse(run, tomogram, "--object", "new:small")


def test_a_tomogram_that_moved_away(run: Run, tomogram: Path, tmp_path: Path) -> None:
    result = tmp_path / "result"
    picks = Picks.build("TS_1", "ribosome", [[10, 20, 30]])
    result.mkdir()
    picks.to_csv(result / "picks.csv")
    grid = {"shape_zyx": [8] * 3, "spacing_zyx_angstrom": [10.0] * 3, "origin_zyx_angstrom": [0.0] * 3}
    record = {"run": "TS_1", "flavour": "wbp", "path": str(tmp_path / "gone.mrc"), **grid}
    write_json(result / "run.json", {"made_by": "cryofind pick", "runs": [record], "objects": [], "thresholds": {}})
    line = refuse(run, result)
    assert f"its tomogram {tmp_path / 'gone.mrc'} is not there any more" in line
    assert f"--picks {result} --run TS_1" in line
    assert "--run TS_9: is not in the input" in refuse(run, result, "--run", "TS_9")
    assert f"give the project, with --picks {result}" in refuse(run, result, "--tomogram", "denoised")
    write_json(result / "run.json", {"made_by": "cryofind pick", "runs": [{"run": "TS_1", **grid}]})
    assert "run.json: runs: cannot be read (KeyError('path')); pick again" in refuse(run, result)
    shutil.copy(tomogram, tmp_path / "gone.mrc")
    write_json(result / "run.json", {"made_by": "cryofind pick", "runs": [], "objects": [], "thresholds": {}})
    assert "run TS_1: is not in run.json" in refuse(run, result)


def test_a_tomogram_larger_than_memory(run: Run, tomogram: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryofind.pipeline.view_volumes.read_free_bytes", lambda: 400)
    assert "look at a binned copy" in refuse(run, tomogram)


def answer(port: int, path: str, *, host: str = "127.0.0.1", method: str = "GET") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers={"Host": host}, body=b"{}" if method == "POST" else None)
        return connection.getresponse().status
    finally:
        connection.close()


def test_who_is_answered() -> None:
    grey = GreyVolume(np.zeros(GRID.shape_zyx, np.uint8), GRID, (0, 255))
    with open_server(token=TOKEN) as server:
        server.show(Scene("a", grey))
        port, page = server.port, f"/v/{TOKEN}/"
        volume = next(iter(server.viewer.volume_manager.volumes))
        (layer,) = server.viewer.state.layers
        assert layer.source[0].url.endswith(f"{TOKEN}.{volume}")
        chunk = f"/neuroglancer/npz/{TOKEN}.{volume}/1,1,1/0,0,0/8,8,8"
        assert answer(port, page) == answer(port, chunk) == answer(port, f"/neuroglancer/info/{TOKEN}.{volume}") == 200
        for host in ("localhost", f"localhost:{port}", "127.0.0.1:9999", "[::1]:80"):
            assert answer(port, page, host=host) == 200, host
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", f"evil.example:{port}"):
            assert answer(port, page, host=host) == 404, host
        for path in ("/", "/v/", "/v/wrong/", f"/v/{TOKEN[:-1]}/", f"/v/{TOKEN}/../../etc/passwd", f"/v/{TOKEN}/..%2f"):
            assert answer(port, path) == 404, path
        assert answer(port, f"/neuroglancer/npz/wrong.{volume}/1,1,1/0,0,0/8,8,8") == 404
        assert answer(port, "/events/wrong?c=1&gc=0&gs=0") == 404
        assert answer(port, "/state/wrong", method="POST") == 404
        assert answer(port, f"/credentials/{TOKEN}", method="POST") == 403
    with pytest.raises(ConnectionRefusedError):
        answer(port, page)


def test_the_secret_is_not_logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with open_server(token=TOKEN) as server:
        server.show(Scene("a", GreyVolume(np.zeros(GRID.shape_zyx, np.uint8), GRID, (0, 255))))
        assert answer(server.port, f"/events/{TOKEN}") == 400
        assert answer(server.port, f"/state/{TOKEN}", method="POST") == 500
    assert TOKEN not in caplog.text + "".join(capfd.readouterr())
