"""The command line and its tiny model, for tables of bad input."""

from tests.e2e.conftest import model, project, result, run

__all__ = ["model", "project", "result", "run"]
