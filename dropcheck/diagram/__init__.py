"""A captured graph as something to look at: repeated blocks folded, the way of harmful noise marked."""

from dropcheck.diagram.boxes import chart as chart
from dropcheck.diagram.chart import Chart as Chart
from dropcheck.diagram.formats import FORMATS as FORMATS
from dropcheck.diagram.formats import render as render
