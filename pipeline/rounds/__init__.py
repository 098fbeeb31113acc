"""Rounds are training rows that exist a part at a time, for runs whose rows fit on no disk.

    token store -> order of sequences, cut -> dealt to buckets -> put in order -> trained on, gone
                   order                      making              making          source

With `dump.rows_per_round` the stages `dump` and `shuffle` publish no rows but small descriptors:
which rows there are, and in which order. Whoever reads training rows makes them from the models and
the tokens, one round after the other. While round r is trained on, the rows of round r + 1 are
computed (before the first step of round r, as the device is needed) and put in order (beside the
steps, which leave the disk idle). Round r goes once a checkpoint lies past its rows.

    <runtime.rounds_dir>/.work/rounds-<digest of the descriptor>/
      epoch-0-seed-49-round-0003/
        buckets/     while the round is being made (buckets-of-2/ by two processes)
        rows.zarr/   a plain store, in the order in which it is trained on

Which rows a round holds and how they are ordered follows from seeds and counts alone, so whatever
is missing is made again, to the byte.

Key types: Order (an epoch cut into rounds) and Round; Described (what the descriptors say); Maker
(models, buckets, order: the one part that runs a model); RoundRows (the row source of training);
`training_rows` opens whichever rows the experiment has.
"""
