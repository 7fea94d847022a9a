"""Charts as SVG, each with a folded table of its numbers: lines, histograms, bars.

All text is escaped, so names that come from data are safe. The style sheet is `assets/charts.css`.
"""

from cryofind.report.chart_axes import smooth
from cryofind.report.chart_bars import Bar, bars, histogram
from cryofind.report.chart_lines import Series, line_chart
from cryofind.report.chart_parts import Mark

__all__ = ["Bar", "Mark", "Series", "bars", "histogram", "line_chart", "smooth"]
