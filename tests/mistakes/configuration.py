"""Mistakes in overrides, `params.yaml`, `composed.yaml` and the files of `conf/`."""

from pathlib import Path

from tests.mistakes.table import TINY, Edit, Mistake

TRAIN = "conf/train/default.yaml"
OWN_EXPERIMENT = "# @package _global_\ndefaults:\n  - override /crosscoder: nope\n"


def override(name: str, typed: str, *words: str) -> Mistake:
    return Mistake(name, words, typed=(TINY, typed))


def train_file(name: str, edit: Edit, *words: str) -> Mistake:
    return Mistake(name, words, typed=(TINY,), files={TRAIN: edit})


def params(name: str, text: Edit, *words: str) -> Mistake:
    return Mistake(name, words, files={"params.yaml": text})


def appended(line: str) -> Edit:
    return lambda text: text + line


def edited_composed(folder: Path) -> None:
    from pipeline.config.compose import DIGEST_LINE, HEADER

    (folder / "composed.yaml").write_text(f"{HEADER}{DIGEST_LINE}{'0' * 64}\nseed: 3\n")


OVERRIDES = [
    Mistake("no experiment", ("no experiment chosen", "add +experiment=NAME"), typed=("seed=3",)),
    Mistake(
        "a misspelt experiment",
        ("'gemna'", "did you mean gemma?", "conf/experiment/gemna.yaml"),
        typed=("+experiment=gemna",),
    ),
    Mistake(
        "an experiment without its plus",
        ("found experiment=tiny", "expected +experiment=tiny", "add the plus"),
        typed=("experiment=tiny",),
    ),
    override("two experiments", "+experiment=smoke", "chosen 2 times", "expected once", "keep one"),
    override("a number below its range", "train.batch_rows=0", "train.batch_rows", "0", "greater"),
    override("text for a number", "train.batch_rows=many", "train.batch_rows", "'many'", "integer"),
    override(
        "a fraction for a count", "train.batch_rows=1.5", "train.batch_rows", "1.5", "integer"
    ),
    override("a quoted number", "train.batch_rows='512'", "'512'", "integer", "without quotes"),
    override("infinity", "train.learning_rate=inf", "train.learning_rate", "inf", "finite"),
    override("not a number", "train.learning_rate=nan", "train.learning_rate", "nan", "finite"),
    override("a null seed", "seed=null", "seed is null", "integer", "more keys called seed"),
    override("a negative seed", "seed=-1", "seed is -1", "greater than or equal to 0"),
    override("a truth value for a seed", "seed=true", "seed is true", "integer"),
    override(
        "a misspelt key",
        "train.lerning_rate=1",
        "train.lerning_rate",
        "did you mean train.learning_rate?",
    ),
    override(
        "a misspelt section",
        "trian.batch_rows=8",
        "trian.batch_rows",
        "did you mean train.batch_rows?",
    ),
    override(
        "a key without its section",
        "batch_rows=8",
        "batch_rows",
        "did you mean train.batch_rows or",
    ),
    override(
        "a new key with a plus",
        "+train.lerning_rate=1",
        "train.lerning_rate is unknown",
        "did you mean train.learning_rate?",
    ),
    override(
        "a plus before a known key",
        "+train.n_rows=1",
        "train.n_rows",
        "in conf/ already",
        "leave out",
    ),
    override("a known key removed", "~train.batch_rows", "train.batch_rows is missing", "set it"),
    override(
        "an unknown key removed", "~train.foo", "train.foo", "that can go", "mend its spelling"
    ),
    override("an open value", "seed=???", "seed is missing", "add seed=VALUE"),
    override(
        "a home folder without quotes",
        "crosscoder=~/x",
        "'crosscoder=~/x'",
        "in quotes",
        "crosscoder='~/x'",
    ),
    override("a key without a value", "seeds", "'seeds'", "expected KEY=VALUE"),
    override("a key alone", "seed", "'seed'", "KEY=VALUE", "no spaces round it"),
    override("typeset quotes", "hook_point.dtype=“bfloat16”", "typeset", "write ' or"),
    override("keys for a list", "runtime.trackers={a: 1}", "runtime.trackers", "a list [a,b]"),
    override("a value without a key", "=3", "'=3'", "expected KEY=VALUE"),
    override("nothing in quotes", "", "''", "expected KEY=VALUE"),
    override("several values", "seed=1,2", "'seed=1,2'", "several values", "expected one"),
    override("an open bracket", "seed=[", "'seed=['", "expected KEY=VALUE"),
    override("an open quote", 'hook_point.dtype="bf', "opens a quote", "close it"),
    override("an option", "--multirun", "'--multirun'", "no option", "KEY=VALUE", "leave it out"),
    override(
        "a key of Hydra", "hydra.run.dir=x", "'hydra.run.dir=x'", "changes nothing", "leave it"
    ),
    override("a group set to a number", "train=3", "'train=3'", "conf/train/", "train.KEY=VALUE"),
    override("a group set to nothing", "train=null", "'train=null'", "conf/train/"),
    override(
        "a misspelt variant",
        "crosscoder=batchtopk",
        "crosscoder is 'batchtopk'",
        "expected one of",
        "did you mean batch_topk?",
    ),
    override("a file that is not there", "frontier=nope", "frontier is 'nope'", "default, short"),
    override("text for a list", "runtime.trackers=wandb", "'wandb'", "list", "[wandb]"),
    override("text for keys", "sources.pile=abc", "sources.pile", "'abc'", "keys with values"),
    override("an unknown choice", "train.precision=fp8", "train.precision", "'fp8'", "'fp32'"),
    override(
        "an unknown kind", "models.base.kind=magic", "models.base.kind", "'magic'", "'trained'"
    ),
    override(
        "an unknown source",
        "++mix.shares={chat: null, wiki: 0.5}",
        "mix.shares",
        "'wiki'",
        "add it",
    ),
    override(
        "a template without a role", "mix.template={user: {prefix: a, suffix: b}}", "assistant"
    ),
    override("a share without pluses", "mix.shares.web=0.5", "mix.shares.web", "++mix.shares="),
    override(
        "a twin of no organism", "models.twin={kind: as_it}", "models.twin", "set models.twin"
    ),
    override("shares above 1", "+mix.shares.code=0.5", "mix.shares", "sum to 1", "NAME: null"),
    override("a share of 0", "mix.shares.chat=0", "mix.shares.chat", "greater than 0"),
    Mistake(
        "a context that is no source",
        ("plant.groups.moved.it_contexts", "'web'", "all, pile, chat"),
        typed=("+experiment=planted", "plant.groups.moved.it_contexts=web"),
    ),
    override(
        "a reference to no key",
        "seed=${nope.x}",
        "${nope.x}",
        "is no key of conf/",
        "mend the name",
    ),
    override(
        "an environment variable that is not set",
        "seed=${oc.env:NO_SUCH_NAME}",
        "NO_SUCH_NAME",
        "is not set",
        "set it",
    ),
    override("a group sent elsewhere", "+train@foo=default", "foo is unknown", "remove it"),
    Mistake(
        "a commit that looks like a number",
        ("models.base.revision", "number 20231113", "text", "models.base.revision='...'"),
        typed=(TINY, "models=gemma_2_2b", "models.base.revision=20231113"),
    ),
    Mistake(
        "a commit that looks like a power of ten",
        ("models.base.revision", "number 100000.0", "in quotes as you wrote it"),
        typed=(TINY, "models=gemma_2_2b", "models.base.revision=1e5"),
    ),
    Mistake(
        "more active latents than latents",
        ("crosscoder.k_start", "must be <=", "lower crosscoder.k_start"),
        typed=(TINY, "crosscoder=batch_topk", "crosscoder.k_start=999999"),
    ),
    Mistake(
        "a number without end",
        ("latent_scaling.twin_rate_ratio is inf", "finite number", "change it in conf/"),
        typed=(TINY, "latent_scaling.twin_rate_ratio=inf"),
    ),
    Mistake(
        "no number",
        ("steering.temperature is nan", "finite number", "change it in conf/"),
        typed=(TINY, "steering.temperature=nan"),
    ),
    Mistake(
        "more rows than there are of anything",
        ("mix.rows_per_chunk is 1000000000000000000", "at most 1,000,000,000,000", "lower it"),
        typed=(TINY, "mix.rows_per_chunk=1000000000000000000"),
    ),
    Mistake(
        "a repository with a path in it",
        ("crosscoder.repo is 'a/b/c'", "NAME or OWNER/NAME"),
        typed=(TINY, "crosscoder=pretrained", "crosscoder.repo=a/b/c"),
    ),
    Mistake(
        "a number in place of what planted features share",
        ("plant.feature is 1", "keys with values"),
        typed=("+experiment=planted", "plant.feature=1"),
    ),
    Mistake(
        "one factor for two models",
        ("crosscoder.activation_scale ([0.5])", "1 factors", "expected 2", "null to measure"),
        typed=(
            TINY,
            "crosscoder=pretrained",
            "crosscoder.path=x",
            "crosscoder.activation_scale=[.5]",
        ),
    ),
    Mistake(
        "a finished crosscoder without a place",
        ("crosscoder.path (None)", "crosscoder.repo (None)", "exactly one"),
        typed=(TINY, "crosscoder=pretrained"),
    ),
    Mistake(
        "rows dropped without a bulk",
        ("runtime.drop_unshuffled", "needs runtime.bulk_dir", "set runtime.bulk_dir"),
        typed=(TINY, "runtime.drop_unshuffled=true"),
    ),
    Mistake(
        "rounds of less than two batches",
        ("dump.rows_per_round (2,000)", "at least 2,432", "raise it"),
        typed=(TINY, "dump.rows_per_round=2000"),
    ),
    Mistake(
        "rounds that are dealt for the whole shuffle",
        ("dump.scatter_seed (49)", "must be null with dump.rows_per_round", "scatter_seed=null"),
        typed=(TINY, "dump.rows_per_round=9000", "dump.scatter_seed=49"),
    ),
    Mistake(
        "rounds of planted rows",
        ("dump.rows_per_round (9,000)", "needs a model pair", "dump.rows_per_round=null"),
        typed=("+experiment=planted", "dump.rows_per_round=9000"),
    ),
    override(
        "a layer that is not among those read",
        "hook_point.layers=[1,2]",
        "hook_point.layer is 3, which is not in hook_point.layers [1, 2]",
        "add it there",
    ),
    override(
        "layers out of order",
        "hook_point.layers=[3,1]",
        "hook_point.layers is [3, 1]",
        "write [1, 3]",
    ),
    override(
        "a layer beyond the model among those read",
        "hook_point.layers=[3,6]",
        "hook_point.layers is 6, but models.base.n_layers is 6",
        "between 0 and 5",
    ),
    Mistake(
        "several layers in rounds",
        (
            "dump.rows_per_round is 9,000",
            "expected null with hook_point.layers [1, 3]",
            "one layer",
        ),
        typed=(TINY, "hook_point.layers=[1,3]", "dump.rows_per_round=9000"),
    ),
    Mistake(
        "several layers dealt to buckets",
        ("dump.scatter_seed is 49", "expected null with hook_point.layers [1, 3]", "layers=[]"),
        typed=(TINY, "hook_point.layers=[1,3]", "dump.scatter_seed=49"),
    ),
    Mistake(
        "features planted at several layers",
        ("plant is set", "expected none with hook_point.layers [1, 3]", "plant=none"),
        typed=(TINY, "plant=on_activations", "hook_point.layers=[1,3]"),
    ),
    override(
        "a norm ratio that leaves out half",
        "dump.max_norm_ratio=1",
        "dump.max_norm_ratio is 1, ",
        "greater than 1",
    ),
    override("an infinite norm ratio", "dump.max_norm_ratio=inf", "dump.max_norm_ratio", "finite"),
    Mistake(
        "outliers left out of rows that are dealt to buckets",
        ("dump.scatter_seed is 49", "expected null with dump.max_norm_ratio (10)", "seed=null"),
        typed=(TINY, "dump.max_norm_ratio=10", "dump.scatter_seed=49"),
    ),
    Mistake(
        "outliers left out of rounds",
        ("dump.rows_per_round is 9,000", "expected null", "set dump.rows_per_round=null"),
        typed=(TINY, "dump.max_norm_ratio=10", "dump.rows_per_round=9000"),
    ),
    Mistake(
        "outliers of planted rows",
        ("dump.max_norm_ratio is 10", "models.base.kind is none", "dump.max_norm_ratio=null"),
        typed=("+experiment=planted", "dump.max_norm_ratio=10"),
    ),
    Mistake(
        "two splits",
        ("models.heldout.fraction (0.1)", "must equal", "(0.2)", "set both alike"),
        typed=(TINY, "mix.heldout_fraction=0.2", "models.heldout.fraction=0.1"),
    ),
    override("a model tuned from itself", "models.it.of=it", "models", "it.of is it", "itself"),
    override("an unknown device", "runtime.device=tpu", "runtime.device", "'tpu'", "'cuda'"),
    override("no value at all", "train.learning_rate=", "learning_rate is ''", "give it a value"),
    override("a unit", "shuffle.memory_bytes=5GB", "'5GB'", "integer", "without a unit"),
    override("a word for true", "report.shows_runs=yes", "'yes'", "true or false"),
    override("two signs of equality", "seed==3", "'seed==3'", "write one = without spaces"),
    override("spaces round the =", "seed = 3", "'seed = 3'", "write one = without spaces"),
    override("a line break", "seed=3\n4", "'seed=3\\n4'", "does not show", "remove it"),
    override("a sign that turns text", "seed=\u202e3", "\\u202e", "does not show", "remove it"),
    override(
        "a source with a capital", "++mix.shares={Web: 1, chat: null}", "mix.shares", "lower-case"
    ),
    Mistake(
        "a list of nothing",
        ("sources.pile.paths is []", "at least one entry"),
        typed=(
            *("+experiment=local", "hook_point.layer=1", "models.base.path=a", "models.it.path=b"),
            *("sources.pile.paths=[]", "sources.chat.paths=[a]"),
        ),
    ),
    Mistake(
        "the file of an experiment for its name",
        ("unknown experiment", "did you mean tiny?", "conf/experiment/tiny.yaml"),
        typed=("+experiment=conf/experiment/tiny.yaml",),
    ),
    override("no threads", "runtime.n_threads=0", "runtime.n_threads", "0", "greater than"),
]

PARAMS = [
    params(
        "a misspelt key in params.yaml", "experimnt: tiny", "params.yaml", "experimnt", "name an"
    ),
    params(
        "a key that params.yaml does not hold",
        "experiment: tiny\ntrain:\n  learning_rate: 0.001\n",
        "params.yaml",
        "found train",
        "change nothing",
        "train.learning_rate=0.001",
    ),
    params("a list for params.yaml", "- tiny", "params.yaml", "experiment and overrides"),
    params("an empty params.yaml", "", "params.yaml", "experiment and overrides"),
    params("no params.yaml", None, "params.yaml not found", "root of the repository"),
    params(
        "overrides as a list",
        "experiment: tiny\noverrides: [seed=3]\n",
        "overrides is ['seed=3']",
        "expected one text",
        "write it so",
    ),
    params(
        "overrides as a number", "experiment: tiny\noverrides: 3\n", "overrides is 3", "one text"
    ),
    params("an experiment as a number", "experiment: 3\n", "experiment is 3", "one text"),
    params("a list of experiments", "experiment: [a, b]\n", "experiment is ['a', 'b']", "one text"),
    params(
        "an open quote in overrides",
        'experiment: tiny\noverrides: "seed=3 a=\'x"\n',
        "open the quote '",
        "close it",
    ),
    params(
        "an open bracket in overrides",
        "experiment: tiny\noverrides: a=[1, 2\n",
        "open a bracket",
        "close it",
    ),
    params(
        "overrides with commas",
        "experiment: tiny\noverrides: seed=3, train.n_rows=8\n",
        "'seed=3,'",
        "parted by spaces alone",
    ),
    params("a tab in params.yaml", "experiment: tiny\n\toverrides: x\n", "params.yaml:2", "a tab"),
    params(
        "a key twice in params.yaml", "experiment: a\nexperiment: b\n", "params.yaml:2", "second"
    ),
    params("params.yaml that is no UTF-8", b"experiment: \xff\n", "params.yaml", "not UTF-8"),
    params(
        "a tag in params.yaml", "experiment: !x tiny\n", "params.yaml:1", "the tag !x", "remove"
    ),
    Mistake(
        "composed.yaml edited by hand",
        (
            "composed.yaml was edited",
            "expected it as written",
            "overrides of params.yaml",
            "dvc repro",
        ),
        prepare=edited_composed,
    ),
    Mistake(
        "composed.yaml edited before a stage by hand",
        ("composed.yaml was edited", "overrides of params.yaml"),
        prepare=edited_composed,
        stage="train",
    ),
    Mistake(
        "a composed.yaml of another make",
        ("composed.yaml", "not of this version", "dvc repro compose"),
        files={"composed.yaml": "seed: 3\n"},
        stage="train",
    ),
    Mistake(
        "no composed.yaml",
        ("composed.yaml not found", "dvc repro compose", "+experiment=tiny"),
        stage="train",
    ),
]

FILES = [
    train_file("a tab in conf/", appended("\tfoo: 1\n"), f"{TRAIN}:17:1", "a tab", "with spaces"),
    train_file(
        "a key twice in conf/",
        appended("batch_rows: 1\n"),
        f"{TRAIN}:17:1",
        "batch_rows",
        "keep one",
    ),
    train_file("a tag in conf/", appended("x: !y 1\n"), f"{TRAIN}:17:4", "the tag !y", "remove it"),
    train_file(
        "code in conf/",
        appended('x: !!python/object/apply:os.getcwd [""]\n'),
        f"{TRAIN}:17:4",
        "the tag",
    ),
    train_file("an alias in conf/", appended("x: *y\n"), f"{TRAIN}:17:4", "nothing defines"),
    train_file("an open quote in conf/", appended('x: "y\n'), f"{TRAIN}:18:1", "cannot be read"),
    train_file("an open bracket in conf/", appended("x: [1\n"), f"{TRAIN}:18:1", "cannot be read"),
    train_file("a colon too many in conf/", appended("x: y: z\n"), f"{TRAIN}:17:5", "in quotes"),
    train_file("a list for keys in conf/", "- 1\n", TRAIN, "'- 1", "keys with values", "mend it"),
    train_file("a word for keys in conf/", "hello\n", TRAIN, "'hello", "keys with values"),
    train_file(
        "a conf file that is no UTF-8", b"\xff\xfe\x00", TRAIN, "not UTF-8", "save the file"
    ),
    train_file("a NUL in conf/", b"x: \x00\n", TRAIN, "a control character", "remove it"),
    train_file(
        "a misspelt key in conf/",
        lambda text: text.replace("batch_rows: 4096\n", "batch_rows: 4096\nlearning_rte: 1\n"),
        "train.learning_rte is unknown",
        "did you mean train.learning_rate?",
    ),
    train_file("half a reference in conf/", appended("x: ${\n"), "x", "mend"),
    train_file(
        "a key at another depth",
        lambda text: "  odd: 1\n" + text,
        TRAIN,
        "keys at other depths",
        "indent",
    ),
    train_file("a colon without a space", lambda text: text.replace(": ", ":", 1), "a space after"),
    train_file("a second document in conf/", appended("---\nx: 1\n"), TRAIN, "remove the line ---"),
    train_file(
        "a conflict of git",
        lambda text: f"<<<<<<< HEAD\n{text}=======\n>>>>>>> theirs\n",
        TRAIN,
        "conflict of git",
        "keep one side",
    ),
    train_file("a number for a key", appended("1: 2\n"), "train.1 is unknown", "remove it"),
    Mistake(
        "an experiment under another's name",
        ("conf/experiment/mine.yaml", "experiment: tiny", "expected experiment: mine", "write it"),
        typed=("+experiment=mine",),
        files={"conf/experiment/mine.yaml": "# @package _global_\ndefaults:\n  - tiny\n"},
    ),
    Mistake(
        "an experiment whose keys count for nothing",
        ("conf/experiment/mine.yaml", "# @package _global_", "write the line"),
        typed=("+experiment=mine",),
        files={"conf/experiment/mine.yaml": "defaults:\n  - tiny\ntrain:\n  n_rows: 8\n"},
    ),
    Mistake(
        "an experiment of itself",
        ("+experiment=mine", "lead back to itself", "remove"),
        typed=("+experiment=mine",),
        files={"conf/experiment/mine.yaml": "# @package _global_\ndefaults:\n  - mine\n"},
    ),
    Mistake(
        "no conf/", ("conf/ not found", "root of the repository"), (TINY,), files={"conf": None}
    ),
    Mistake(
        "a default that is not there",
        ("crosscoder", "experiment/mine", "no default", "mend its name"),
        typed=("+experiment=mine",),
        files={"conf/experiment/mine.yaml": OWN_EXPERIMENT},
    ),
    Mistake(
        "a folder for a file of conf/",
        ("conf/train/default.yaml", "cannot be read"),
        typed=(TINY,),
        files={TRAIN: None},
        prepare=lambda folder: (folder / TRAIN).mkdir(),
    ),
]

MISTAKES = [*OVERRIDES, *PARAMS, *FILES]
