"""The shuffle writes the rows of a store in a uniformly random order, in bounded memory.

    rows in order -> dealt to buckets on disk -> bucket after bucket put in order -> shuffled store
                     deal, scatter, blocks      buckets, shuffle

Every order of all rows is equally likely, and which row goes where follows from the seed and the
number of rows alone (`permutation`). So a run that was killed goes on, more memory or threads
change no byte, and a dump that knows how many rows it will give can deal them itself
(`dump.scatter_seed`). A bucket is a run of rows of the result that fits into memory.

Key types: Permutation (where rows go), Geometry (where a bucket's rows lie in its file),
BucketWriter and BucketReader (the buckets on disk), MemoryPlan (what fits into
`shuffle.memory_bytes`); `shuffle_store` does the whole.
"""
