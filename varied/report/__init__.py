"""What a run says about itself: one page that opens anywhere, and a card for its folder."""

from varied.report.build import write_report
from varied.report.card import write_card
from varied.report.parts import Fact, Figure, Sentence, Table

__all__ = ["Fact", "Figure", "Sentence", "Table", "write_card", "write_report"]
