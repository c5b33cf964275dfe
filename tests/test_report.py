"""The report and the card: all inside, nothing from outside, nothing a name can break."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from varied.errors import VariedError
from varied.report import Fact, Figure, Sentence, Table, write_card, write_report

EVIL = "<script>alert(\"1\")</script> & 'x' | `$title` </title>"


class Page(HTMLParser):
    """What a browser would find."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "source", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def folder(tmp_path):
    images = [Image.fromarray(np.full((6, 8), level, np.uint8)) for level in (0, 100, 200)]
    images[0].save(tmp_path / "still.png")
    images[0].save(tmp_path / "film.gif", save_all=True, append_images=images[1:], duration=99)
    (tmp_path / "draw.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    return tmp_path


@pytest.fixture
def parts():
    return {
        "facts": [Fact("−ELBO", "91.2 ± 0.3 nats", "n = 10,000"), Fact(EVIL, EVIL, EVIL)],
        "tables": [Table("Bounds", ("data", EVIL), [("test", 91.2), (EVIL, "1")], "± one s.e.")],
        "figures": [
            Figure("still.png", "Samples", "64 digits"),
            Figure("film.gif", EVIL, EVIL, EVIL),
        ],
    }


def test_the_page_is_whole_and_alone(folder, parts):
    notes = [Sentence("10 pictures."), Sentence(EVIL, "warning")]
    path = write_report(folder, title=EVIL, sentences=notes, **parts)
    assert path == folder / "report.html"
    text = path.read_text("utf-8")
    page = Page(text)
    assert page.open == []
    assert not page.all("script")
    assert not page.all("link")
    assert not re.search(r"https?://|//[a-z]|@import|url\(", re.sub(r"base64,[^\"]*", "", text))
    for tag in ("img", "source"):
        for attributes in page.all(tag):
            assert attributes.get("src", attributes.get("srcset", "")).startswith("data:image/")
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_hostile_names_are_shown_as_they_are(folder, parts):
    path = write_report(folder, title=EVIL, sentences=[Sentence(EVIL)], **parts)
    page = Page(path.read_text("utf-8"))
    assert "".join(page.words).count(EVIL) >= 7
    assert {image["alt"] for image in page.all("img")} == {"64 digits", EVIL}


def test_every_figure_has_words_and_a_heading(folder, parts):
    page = Page(write_report(folder, title="t", **parts).read_text("utf-8"))
    assert all(image["alt"] for image in page.all("img"))
    assert all(image["width"] == "8" and image["height"] == "6" for image in page.all("img"))
    headings = [tag for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings == ["h1", "h2", "h3", "h3", "h2", "h3"]
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("main")) == 1


def test_a_film_stands_still_where_that_is_wished(folder, parts):
    page = Page(write_report(folder, title="t", **parts).read_text("utf-8"))
    (source,) = page.all("source")
    assert "prefers-reduced-motion: reduce" in source["media"]
    still = base64.b64decode(source["srcset"].split(",")[1])
    assert Image.open(io.BytesIO(still)).convert("L").getpixel((0, 0)) == 200


def test_warnings_come_first_and_are_marked_in_words(folder):
    notes = [Sentence("a note"), Sentence("beware", "warning")]
    text = write_report(folder, title="t", sentences=notes).read_text("utf-8")
    assert text.index("beware") < text.index("a note")
    assert re.search(r'<li class="warning"><strong class="mark">Warning</strong> beware', text)


def test_tables_name_their_rows_and_columns(folder, parts):
    page = Page(write_report(folder, title="t", **parts).read_text("utf-8"))
    scopes = [attributes["scope"] for attributes in page.all("th")]
    assert scopes == ["col", "col", "row", "row"]


def test_an_empty_report_has_no_empty_sections(folder):
    page = Page(write_report(folder, title="t", path="sub/r.html").read_text("utf-8"))
    assert not page.all("h2")
    assert not page.all("dl")


def test_other_kinds_of_picture(folder):
    write_report(folder, title="t", figures=[Figure("draw.svg", "a", "b")])
    with pytest.raises(FileNotFoundError):
        write_report(folder, title="t", figures=[Figure("none.png", "a", "b")])
    with pytest.raises(VariedError, match="kind of picture"):
        write_report(folder, title="t", figures=[Figure("model.bin", "a", "b")])


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.dot([0.2126, 0.7152, 0.0722], [((p + 0.055) / 1.055) ** 2.4 for p in parts])


def test_text_stands_out_from_its_paper(folder):
    text = write_report(folder, title="t").read_text("utf-8")
    themes = [
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", part)) for part in text.split("@media")
    ]
    themes = [theme for theme in themes if "ink" in theme]
    assert len(themes) == 2
    pairs = [(ink, paper) for ink in ("ink", "quiet", "accent") for paper in ("paper", "card")]
    for theme in themes:
        for ink, paper in [*pairs, ("warn", "warn-paper"), ("ink", "warn-paper")]:
            low, high = sorted(luminance(theme[name]) for name in (ink, paper))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)


def test_the_card(folder, parts):
    path = write_card(
        folder,
        title=EVIL,
        summary="A model of digits.",
        data="10,000 digits",
        training="34 epochs",
        python='import varied\nrun = varied.open("a")\n# ```',
        shell="varied sample a",
        limits=["Digits alone.", EVIL],
        versions={"varied": "0.1", "torch": "2.9"},
        **parts,
    )
    text = path.read_text("utf-8")
    assert path.name == "README.md"
    assert text.startswith("---\nlibrary_name: varied\n")
    assert "<script>" not in text.replace(r"\<script\>", "")
    assert '````python\nimport varied\nrun = varied.open("a")\n# ```\n````' in text
    for part in (
        "91.2 ± 0.3 nats",
        "n = 10,000",
        "- varied 0.1",
        "![64 digits](still.png)",
        "± one s.e.",
    ):
        assert part in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3, 4}


def test_numbers_stand_at_the_right_and_words_at_the_left(folder):
    rows = [("a", "91.2 ± 0.3", "too dark"), ("b", "−1,024", "a 2"), ("c", "—", "3")]
    table = Table("t", ("run", "−ELBO", "why"), rows)
    text = write_report(folder, title="t", tables=[table]).read_text("utf-8")
    assert '<td>91.2\u00a0±\u00a00.3</td><td class="words">too dark</td>' in text
    assert text.count('class="words"') == 4
