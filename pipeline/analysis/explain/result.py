"""What `results/explanations.json` holds."""

from typing_extensions import TypedDict

from pipeline.results import ResultFile


class Detection(TypedDict):
    """How the sentence tells active from inactive text that its writer has not seen.
    score: mean of the shares of active examples that are called active, and of inactive ones that
    are not; 0.5 is chance. near misses: inactive, of tokens on which it is active elsewhere."""

    score: float
    n_active: int
    n_found: int
    n_near: int
    n_near_called: int
    n_other: int
    n_other_called: int


class Explanation(TypedDict):
    """kind: change or latent; number: rank of the change, or the latent. reason: why there is no
    sentence, or no score; empty where there are both."""

    kind: str
    number: int
    explanation: str | None
    detection: Detection | None
    reason: str


class Explanations(TypedDict):
    """writer: name of the model; n_answers, n_tokens: of all that the sentences rest on."""

    applicable: bool
    writer: str
    n_answers: int
    n_tokens: int
    mean_score: float | None
    explanations: list[Explanation]


EXPLANATIONS = ResultFile("explanations.json", "explain", Explanations)
