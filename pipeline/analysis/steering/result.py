"""What `results/steering.json` holds."""

from typing import NotRequired

from typing_extensions import TypedDict

from pipeline.results import Measured, ResultFile


class Written(TypedDict):
    """What a model writes after a prompt: greedily, and sampled."""

    greedy: str
    samples: list[str]


class Replies(TypedDict):
    """Share of questions at which greedy decoding begins the planted reply."""

    triggered: Measured
    untriggered: Measured


class Steered(TypedDict):
    """A model under a condition. texts: one per prompt; random: under a random direction in place
    of the change's own, as long on every token; replies: where a reply was planted.

    condition: removed, made, doubled or added; factor: of `added`, else null
    """

    model: str
    condition: str
    factor: float | None
    texts: list[Written]
    random: list[Written]
    replies: NotRequired[Replies]
    random_replies: NotRequired[Replies]


class Subject(TypedDict):
    """What is steered with. kind: change or position; number: rank of the change in the list, or
    position in the text."""

    kind: str
    number: int
    steered: list[Steered]


class Clean(TypedDict):
    """A model as it is."""

    model: str
    texts: list[Written]
    replies: NotRequired[Replies]


class Steering(TypedDict):
    """prompts: as text; n_planted: questions at which the planted reply is counted, 0 for none."""

    applicable: bool
    conditions: dict[str, str]
    prompts: list[str]
    n_tokens: int
    temperature: float
    n_planted: int
    confidence: float
    clean: list[Clean]
    subjects: list[Subject]


STEERING = ResultFile("steering.json", "steering", Steering)
CONDITIONS = {
    "removed": "the change is taken out of every row it acts on, as `undone` of the list does",
    "made": "the change is made on every row it acts on, as `made` of the list does",
    "doubled": "the change is there twice as strongly as in the IT model",
    "added": "the direction is added to every token at `factor` times its usual length",
}
