"""Picks for other programs: Kaggle's submission, RELION, TOM, Dynamo, coordinate files, copick."""

from cryofind.export.bundle import Centre, Exported
from cryofind.export.formats import FORMATS, ExportFormat, export_picks
from cryofind.export.submission import validate_submission, write_submission

__all__ = [
    "FORMATS",
    "Centre",
    "ExportFormat",
    "Exported",
    "export_picks",
    "validate_submission",
    "write_submission",
]
