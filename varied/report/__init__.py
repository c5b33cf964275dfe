"""The report of a run as an HTML page, and the model card of a run in Markdown."""

from varied.report.blocks import Fact, Figure, Note, Table
from varied.report.html import write_report
from varied.report.model_card import write_card

__all__ = ["Fact", "Figure", "Note", "Table", "write_card", "write_report"]
