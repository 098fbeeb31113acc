"""One thin module per DVC stage: parse the configuration, call the library, publish."""

import sys

from pipeline import interruption

if sys.argv[0] == "-m":  # what Python puts there while it looks for `python -m stages.X`
    module = sys.orig_argv[sys.orig_argv.index("-m") + 1]
    interruption.end_quietly_before_start(module.removeprefix("stages."))
