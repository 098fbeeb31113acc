"""The section that says what the page's words mean."""

from pipeline.report.findings import Findings
from pipeline.report.section import Section, Shown

GLOSSARY = {
    "base, IT": "the model before and after instruction tuning",
    "crosscoder": "a sparse dictionary trained on both models’ activations at once: one set of "
    "latents, and for each latent one decoder vector per model",
    "latent": "one entry of the dictionary; on a token it is off (0) or on with some strength",
    "hook point": "the place in the models where activations are read: the residual stream that "
    "enters this layer",
    "relative norm r": "length of a latent’s IT decoder over the sum of both lengths, in the "
    "normalised space the crosscoder was trained in: 0 base only, 0.5 shared, 1 IT only",
    "Δ (Delta)": "½(1 + (‖d_IT‖ − ‖d_base‖) / the longer of the two): another scale for r",
    "decoder cosine": "angle between a latent’s two decoders: 1 means the same direction in both "
    "models",
    "dead": "never on in the stated number of held-out tokens",
    "latent scaling, ν": "how strongly a latent’s own direction is present in the other model, as "
    "a share of its own model: ν of the error looks in what the crosscoder missed, ν of the "
    "reconstruction in what its other latents put there. Both small: truly exclusive",
    "Complete Shrinkage": "the norms call a latent exclusive, but the other model carries its "
    "direction too: the penalty shrank the weaker decoder to nothing",
    "Latent Decoupling": "the norms call a latent exclusive, but other latents write the same "
    "direction in the other model: one concept was split in two",
    "share elsewhere": "on how many of its rows, whether or not the latent fires there, the other "
    "model has the direction of a latent that looks exclusive, over those of its own model, as a "
    "linear readout tells: one concept on other rows",
    "twin": "another latent that writes, in the other model, the direction of this one and fires "
    "about as often",
    "L0": "latents on per token, on average",
    "FVE": "fraction of variance explained: 1 − Σ‖x − x̂‖² / Σ‖x − mean‖², the mean taken over "
    "all held-out tokens",
    "per-token EV": "the reference’s form: the mean over tokens of 1 − ‖x − x̂‖² / ‖x − mean‖²",
    "spliced": "the model runs on with its activations replaced by the crosscoder’s "
    "reconstruction, the BOS position left as it is",
    "CE, ΔCE": "cross entropy of the next token, in nats; Δ is its rise over the clean model",
    "KL": "divergence of the patched model’s next-token distribution from the clean one’s, in nats",
    "recovered": "1 − (CE spliced − CE clean) / (CE ablated − CE clean): 1 when splicing costs "
    "nothing, 0 when it costs as much as the ablation",
    "template tokens": "what the template puts around the turns of a conversation, such as “User:” "
    "and “Assistant:”",
    "source": "where a part of the mix comes from, by its name in mix.shares",
}


def show(_findings: Findings) -> Shown:
    return Shown(facts={"glossary": GLOSSARY})


SECTION = Section("glossary", "Glossary", show)
