"""What `results/edits.json` holds."""

from typing_extensions import TypedDict

from pipeline.results import ResultFile


class EditRow(TypedDict):
    """An edit that the pair differs by, and its effect made alone. share: of the difference's
    squares; margin: how far inside its kind; wanted: whether a list must name it
    """

    name: str
    group: str
    form: str
    strength: float
    rate: float
    share: float
    kind: str
    margin: float
    wanted: bool


class Named(TypedDict):
    """What became of an entry: see `score.Match`."""

    edit: int
    is_new: bool
    cosine: float
    kind: str


class Score(TypedDict):
    """Counts of one list on one pair.

    n: edits to be named; recovered_n, recovered_more: of them, among the first n and 1.5 n entries;
    recovered: among all. n_entries, false, duplicates: entries of the whole list
    kinds_right, kinds_undecided, kinds_judged: of the named edits that lie well inside their kind
    cosines: of each named edit's direction with the truth
    """

    n: int
    recovered_n: int
    recovered_more: int
    recovered: int
    n_entries: int
    false: int
    duplicates: int
    kinds_right: int
    kinds_undecided: int
    kinds_judged: int
    cosines: list[float]


class Scored(Score):
    """The counts of one method's list, and what each entry was.

    controls_listed: names of the controls on whose rows a false entry lies
    """

    named: list[Named]
    controls_listed: list[str]


class EditScores(TypedDict):
    """controls: names of the edits that both models have, or none has."""

    edits: list[EditRow]
    controls: list[str]
    methods: dict[str, Scored]


EDITS = ResultFile("edits.json", "edits", EditScores)
