"""What `results/organism.json` and `results/organism.csv` hold."""

from typing import Annotated, Final, NotRequired, final

from typing_extensions import TypedDict

from pipeline.results import Counts, Maybe, Measured, ResultFile, Words


class Behaved(TypedDict):
    """How a model behaves at prompts: log probability of the reply, greedy rate."""

    onset_log_prob: Measured
    log_prob: Measured
    log_prob_per_token: Measured
    greedy_rate: Measured


PARTS: Final = ("onset", "reply")


class Parts(TypedDict):
    """An effect on the planted reply's first token (onset) and on all of it."""

    onset: Measured
    reply: Measured


class Spread(TypedDict):
    """Extremes of the effects of random sets, and the share that do as much as the chosen set."""

    lowest: float | None
    highest: float | None
    p_value: float | None


class RandomEffect(Measured, Spread):
    """The mean effect of random sets with its interval over prompts, and their spread."""


@final
class NoDraws(TypedDict):
    """Where no random set could be drawn; n_draws: 0."""

    n_draws: int


@final
class Control(TypedDict):
    """Random sets in place of the chosen one."""

    n_draws: int
    greedy_rate: float
    onset: RandomEffect
    reply: RandomEffect


@final
class NoLatents(TypedDict):
    """An empty set; n_latents: 0."""

    n_latents: int
    latents: list[int]


@final
class Ablated(TypedDict):
    """What taking a set of latents out of the IT model does, beside random sets."""

    n_latents: int
    latents: list[int]
    triggered: Behaved
    untriggered: Behaved
    ordinary: Behaved
    effect_removed: Parts
    greedy_rate_removed: Measured
    ordinary_loss_added_per_token: Measured
    controls: dict[str, Control | NoDraws]


Ablation = dict[str, Ablated | NoLatents]
"""By set of latents."""


class SteeredAtRandom(Spread):
    """The effect of random sets, put in at the same length."""

    mean: float | None


class SteerControl(TypedDict):
    """By part, as for the chosen set."""

    n_draws: int
    onset: SteeredAtRandom
    reply: SteeredAtRandom


class Steered(Behaved):
    """What putting a set's IT directions into a model does where there is no trigger."""

    set: str
    model: str
    factor: float
    norm_opening: float
    norm_reply: float
    effect_added: Parts
    control: SteerControl


class Example(TypedDict):
    """What the IT model writes at a prompt, as it is and without latents."""

    prompts: str
    prompt: str
    clean: str
    without_selective: str
    without_random: str


class ChosenLatent(TypedDict):
    """A chosen latent: what it fires on, in both halves of the documents, and its verdict."""

    latent: int
    site: str
    selectivity_choosing: float
    precision_choosing: float
    recall_choosing: float
    selectivity_testing: float
    precision_testing: float
    recall_testing: float
    rate: float
    verdict: str
    nu_eps: float | None
    nu_r: float | None
    relative_norm: float
    decoder_cosine: float


class Twin(TypedDict):
    """The organism's figures with its twin in the IT model's place: the same questions, and the
    same latents, which the crosscoder reads on the base model's rows and the twin's. Effects are
    shares of the trigger's effect in the organism. What is found here too is topic, not behaviour.

    tuning: by prompts; steering: of the twin alone; examples: as of the organism
    """

    tuning: dict[str, Behaved]
    trigger_effect: Parts
    latents: list[ChosenLatent]
    ablation: Ablation
    steering: list[Steered]
    examples: list[Example]


class Organism(TypedDict):
    """tuning: model -> prompts -> figures, nothing patched; trigger_effect: by model;
    ablation: set of latents -> effects; twin: where the experiment has one."""

    applicable: bool
    trigger: str
    response: str
    n_prompts: int
    n_greedy_tokens: int
    confidence: float
    n_exchanges: dict[str, int]
    tuning: dict[str, dict[str, Behaved]]
    trigger_effect: dict[str, Parts]
    latents: list[ChosenLatent]
    ablation: Ablation
    steering: list[Steered]
    examples: list[Example]
    glossary: dict[str, dict[str, str]]
    twin: NotRequired[Twin]


class AblationColumns(TypedDict):
    """A row per set of latents, part of the reply, and series."""

    set: Annotated[
        Words, "set of latents taken out of the IT model: see glossary.sets of organism.json"
    ]
    part: Annotated[Words, "onset: the planted reply's first token; reply: all of it"]
    series: Annotated[
        Words, "the chosen latents, or a kind of random latents in their place (mean over draws)"
    ]
    n_latents: Annotated[Counts, "latents in the set"]
    value: Annotated[
        Maybe, "share of the trigger's effect on the log probability that goes with the latents"
    ]
    low: Annotated[Maybe, "lower end of its interval over prompts"]
    high: Annotated[Maybe, "upper end of its interval over prompts"]


ORGANISM = ResultFile("organism.json", "organism", Organism)
ABLATION_COLUMNS = ResultFile("organism.csv", "organism", AblationColumns)
