"""The columns of `results/latents.parquet` and what each holds, with its unit or range."""

from typing import Annotated

from typing_extensions import TypedDict

from pipeline.results import Counts, Flags, Maybe, Numbers, Words, descriptions


class VerdictColumns(TypedDict):
    """A row per latent, in dictionary order."""

    latent: Annotated[Counts, "index in the dictionary"]
    verdict: Annotated[
        Words,
        "it_only, base_only, moved (the other model has it on other rows), turned, stronger (in "
        "IT), weaker, shared (alike in both), undecided or dead; the first of these that is sure "
        "at the false discovery rate of latent_scaling.max_false_discovery_rate",
    ]
    in_both: Annotated[
        Flags,
        "whether both models surely have the latent, on the same rows or on others; an undecided "
        "one may be in both although it is not sure whether it is alike",
    ]
    anchor: Annotated[
        Words, "model whose decoder nu is measured along: the one with the longer decoder"
    ]
    nu_eps: Annotated[
        Maybe, "the other model's coefficient over the anchor's, error with the latent put back"
    ]
    nu_eps_low: Annotated[Maybe, "lower end of its interval, by resampling blocks of documents"]
    nu_eps_high: Annotated[Maybe, "upper end of its interval"]
    nu_r: Annotated[Maybe, "the same for the reconstruction"]
    nu_r_low: Annotated[Maybe, "lower end of its interval"]
    nu_r_high: Annotated[Maybe, "upper end of its interval"]
    nu_eps_base: Annotated[
        Maybe, "nu_eps anchored at the base decoder: IT's coefficient over base's"
    ]
    nu_eps_it: Annotated[Maybe, "nu_eps anchored at the IT decoder: base's coefficient over IT's"]
    nu_r_base: Annotated[Maybe, "nu_r anchored at the base decoder"]
    nu_r_it: Annotated[Maybe, "nu_r anchored at the IT decoder"]
    nu_turned: Annotated[
        Maybe,
        "what the other model writes of the latent along its own decoder, over the same of the "
        "anchor's: large where the two models have it in different directions",
    ]
    p_exclusive: Annotated[
        Maybe,
        "p-value of the claim that the latent is exclusive, against nu_eps >= "
        "latent_scaling.max_nu_error, nu_r >= latent_scaling.max_nu_reconstruction, nu_turned >= "
        "latent_scaling.max_nu_turned, or share_elsewhere >= latent_scaling.max_share_elsewhere, "
        "over blocks of documents; 1 where it has a twin, blank where too few rows or blocks give"
        " no verdict",
    ]
    q_exclusive: Annotated[
        Maybe,
        "p_exclusive as a false discovery rate over the live latents (Benjamini and Hochberg): "
        "the share of wrong ones expected among this latent and all with a smaller one",
    ]
    p_both: Annotated[
        Maybe,
        "p-value of the claim that both models have it on the same rows, against all three nu below"
        " their limits",
    ]
    q_both: Annotated[Maybe, "p_both as a false discovery rate"]
    direction_cosine: Annotated[
        Maybe,
        "cosine of what base and IT write of the latent, by least squares on its activity, of "
        "products of two halves of the documents; noise can carry it beyond 1",
    ]
    direction_cosine_error: Annotated[Maybe, "its standard error, by the jackknife over blocks"]
    strength_ratio: Annotated[
        Maybe, "length of what IT writes of the latent over that of base, normalised space"
    ]
    log_strength_error: Annotated[Maybe, "standard error of its natural logarithm"]
    p_turned: Annotated[
        Maybe,
        "p-value of the claim that both models have it in different directions, against a cosine "
        "of at least latent_scaling.min_shared_cosine; never below p_both",
    ]
    q_turned: Annotated[Maybe, "p_turned as a false discovery rate"]
    p_stronger: Annotated[
        Maybe,
        "p-value of the claim that both have it, IT more strongly, against a strength_ratio of at "
        "most latent_scaling.max_shared_strength_ratio; never below p_both",
    ]
    q_stronger: Annotated[Maybe, "p_stronger as a false discovery rate"]
    p_weaker: Annotated[Maybe, "the same of the claim that IT has it less strongly"]
    q_weaker: Annotated[Maybe, "p_weaker as a false discovery rate"]
    p_shared: Annotated[
        Maybe,
        "p-value of the claim that both have it alike, against a cosine or a ratio of strengths "
        "beyond either limit (an equivalence test); never below p_both",
    ]
    q_shared: Annotated[Maybe, "p_shared as a false discovery rate"]
    nu_eps_null: Annotated[Maybe, "nu_eps with the other model's rows drawn from other tokens"]
    nu_r_null: Annotated[Maybe, "nu_r with the other model's rows drawn from other tokens"]
    p_present: Annotated[
        Maybe,
        "share of the latents' null nu_eps, each over its standard error, at or above this one's:"
        " small means that the other model does carry the latent's direction",
    ]
    q_present: Annotated[Maybe, "p_present as a false discovery rate (Benjamini and Hochberg)"]
    n_active: Annotated[Counts, "rows of the window on which the latent is active"]
    n_effective: Annotated[
        Maybe, "effective number of blocks of documents it is active in, by sum f^2"
    ]
    norm_bin: Annotated[
        Words, "what the decoder norms alone say: dead, base_only, between, shared or it_only"
    ]
    by_minder: Annotated[
        Words,
        "by norm under Minder et al. 2025: base_only (r < 1/6), shared (4/9 < r < 5/9), it_only "
        "(r > 5/6) or between",
    ]
    by_anthropic: Annotated[
        Words, "by norm under Anthropic 2025: base_only (r < 0.05), it_only (r > 0.95) or between"
    ]
    by_reference: Annotated[
        Words, "by norm under Kissane et al. 2024: shared (0.3 < r < 0.7), base_only, it_only"
    ]
    share_elsewhere: Annotated[
        Maybe,
        "of latents that look exclusive by nu, surely or not: rows on which the other model has "
        "the latent's direction, wherever that is, over those of its own model, as a linear "
        "readout tells, the larger by the rows and by the errors, noise included; blank for the "
        "others",
    ]
    twin: Annotated[
        Counts,
        "latent that writes, in the other model, the direction of this one, which nu alone would "
        "call exclusive, and fires about as often; -1: none",
    ]
    artefact: Annotated[
        Words,
        "where the norms say exclusive and both models have it: complete_shrinkage (nu_eps or "
        "nu_turned is large), latent_decoupling (nu_r or share_elsewhere is large, or it has a "
        "twin) or both",
    ]
    relative_norm: Annotated[
        Numbers, "r = ||d_it|| / (||d_base|| + ||d_it||), normalised space, 0 to 1"
    ]
    delta: Annotated[Numbers, "(1 + (||d_it|| - ||d_base||) / max) / 2, normalised space, 0 to 1"]
    decoder_cosine: Annotated[Numbers, "cosine of d_base and d_it, -1 to 1"]


COLUMNS = descriptions(VerdictColumns)
KIND_COLUMNS = (
    *("direction_cosine", "direction_cosine_error", "strength_ratio", "log_strength_error"),
    *(f"{p_or_q}_{kind}" for kind in ("turned", "stronger", "weaker", "shared") for p_or_q in "pq"),
)
"""What `kinds` fills in."""
