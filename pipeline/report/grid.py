"""A table of the page: cells are text, made from typed results where the row is made."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.report import format as form
from pipeline.results import NOT_MEASURED, Measured


@dataclass(frozen=True)
class Cell:
    """small: small print below the text; kind: CSS classes, of which `word` aligns to the left."""

    text: str
    small: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Row:
    """name: what the row is about; kind: CSS classes (`ours`, `control`)."""

    name: str
    cells: Sequence[Cell]
    kind: str = ""


@dataclass(frozen=True)
class Grid:
    """caption: also the name of the region that scrolls; columns: their heads, row names first."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    kind: str = ""

    def is_word(self, column: int) -> bool:
        """Whether a column is aligned to the left, as row names and words are."""
        return column == 0 or any(
            "word" in row.cells[column - 1].kind.split() for row in self.rows[:1]
        )


def number(value: float | None, digits: int = 3) -> Cell:
    return Cell(form.number(value, digits))


def percent(value: float | None, digits: int = 1) -> Cell:
    return Cell(form.percent(value, digits))


def fixed(value: float | None, digits: int = 3) -> Cell:
    return Cell(form.fixed(value, digits))


def measured(figure: Measured | None, digits: int = 3) -> Cell:
    """A figure with its interval in small print."""
    shown = figure or NOT_MEASURED
    return Cell(form.fixed(shown["value"], digits), form.interval(shown, digits))


def word(text: str, kind: str = "") -> Cell:
    return Cell(text, kind=f"word {kind}".strip())


def tokens(names: Iterable[str]) -> Cell:
    """Tokens of a vocabulary, each in its own frame."""
    framed = (Markup("<code>{}</code>").format(form.visible(name)) for name in names)
    return word(Markup(" ").join(framed), "names")


def token_shares(named: Iterable[tuple[str, float]]) -> Cell:
    """Tokens, each in its own frame, and its share behind it."""
    framed = (
        Markup("<code>{}</code>&nbsp;{}").format(form.visible(name), form.percent(share, 0))
        for name, share in named
    )
    return word(Markup(", ").join(framed), "names")


def excerpt(before: str, token: str, after: str, n_characters: int = 28) -> Cell:
    """A token in its context, of which at most `n_characters` before it are shown."""
    left = form.tail(form.visible(before), n_characters)
    parts = (left, form.visible(token), form.visible(after))
    return word(Markup("{}<mark>{}</mark>{}").format(*parts), "snippet")


def link(address: str, text: str) -> str:
    """A link to a place on the page."""
    return Markup('<a href="#{}">{}</a>').format(address, text)


def latent_link(latent: int) -> str:
    """The number of a latent, as a link that opens it."""
    return link(f"latent-{latent}", str(latent))
