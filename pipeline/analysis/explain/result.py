"""What `results/explanations.json` holds."""

from typing_extensions import TypedDict

from pipeline.results import Measured, ResultFile


class Detection(TypedDict):
    """How a sentence tells active from inactive text that its writer has not seen.
    score: balanced accuracy, the mean of the shares of active examples that are called active and
    of inactive ones that are not; auc: how often an active example is judged likelier than an
    inactive one; 0.5 is chance for both. near misses: inactive, of tokens on which it is active
    elsewhere."""

    score: float
    auc: Measured
    n_active: int
    n_found: int
    n_near: int
    n_near_called: int
    n_other: int
    n_other_called: int


class Explanation(TypedDict):
    """kind: change or latent; number: rank of the change, or the latent. control: what the sentence
    of another subject makes of the same examples. reason: why there is no sentence, or no score;
    empty where there are both."""

    kind: str
    number: int
    explanation: str | None
    detection: Detection | None
    control: Detection | None
    reason: str


class Means(TypedDict):
    """Means over subjects, with intervals over them: of the n_scored that have a score, and of the
    n_controls that also have a control's."""

    n_scored: int
    score: Measured
    auc: Measured
    n_controls: int
    control_score: Measured
    control_auc: Measured
    auc_above_control: Measured


class Explanations(TypedDict):
    """writer: name of the model; judged_by: `answers` (it names the examples) or `likelihood` (its
    odds of yes against no); n_answers, n_tokens: of all that the sentences rest on."""

    applicable: bool
    writer: str
    judged_by: str
    confidence: float
    n_answers: int
    n_tokens: int
    means: Means
    explanations: list[Explanation]


EXPLANATIONS = ResultFile("explanations.json", "explain", Explanations)
