"""What a run says about itself: one page that opens anywhere, and a card for its folder."""

from varied.report.blocks import Fact, Figure, Sentence, Table
from varied.report.html import write_report
from varied.report.model_card import write_card

__all__ = ["Fact", "Figure", "Sentence", "Table", "write_card", "write_report"]
