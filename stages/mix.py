"""Build the mix of sources: chats in the template, packed behind a start token, split by document.

    python -m stages.mix                    # composed.yaml, as `dvc repro` does
    python -m stages.mix +experiment=tiny mix.n_train_tokens=100000

reads   the sources named in mix.shares, data/models/tokenizer/
writes  data/tokens.zarr: one row per sequence, train first, then held-out
cost    about 10 bytes per token on disk, a few hundred MB of memory however long the sources are,
        some 200,000 tokens/s; killed and run again, it goes on from its last chunk
"""

from collections.abc import Callable

from pipeline.config import Config
from pipeline.progress import Progress
from pipeline.results import not_applicable
from pipeline.stage import MODELS, TOKENS, Stage, run

STAGE = Stage(
    name="mix",
    sections=("mix", "sources"),
    local_files=("sources",),
    inputs={"models": MODELS},
    outputs={"tokens": TOKENS},
    resumes=True,
)


NO_TOKENS = not_applicable("the experiment has no models to read tokens")


def main(config: Config) -> None:
    from contextlib import ExitStack

    from pipeline.models.load import load_tokenizer
    from pipeline.models.start import read_start
    from pipeline.models.template import read_template
    from pipeline.text.mix import Mix, write_mix

    with STAGE.build(config, "tokens") as build, ExitStack() as stack:
        if build.complete:
            return
        if not config.has_models:
            build.publish(counts={}, facts=NO_TOKENS)
            return

        def start(mix: Mix) -> Callable[[int], None]:
            progress = Progress("mix", total=mix.n_rows, unit="sequences", start=mix.row)
            return stack.enter_context(progress).advance

        tokenizer = load_tokenizer(MODELS)
        counts, facts = write_mix(
            build.work,
            config.mix,
            {name: config.sources[name] for name in config.source_names},
            tokenizer,
            start_id=read_start(MODELS).id,
            template=read_template(MODELS).template(tokenizer),
            n_threads=config.runtime.io_threads,
            on_start=start,
        )
        build.publish(counts=counts, facts=facts)


if __name__ == "__main__":
    run(STAGE, main)
