"""Harvesting runs both models of a pair to the hook point and keeps a row per token.

    token store -> census -> batches -> PairedForward -> Rows -> Sink -> store or buckets
    [N, S] ids     which tokens give rows  both models    [R, M, D] bfloat16, labels per row

Every token gives a row but the one that starts a sequence, whose activations are unlike all others;
and, where a limit is set, but those whose norm exceeds it. The grid of batches is fixed, so that a
dump that was killed computes the same bits when it goes on.

Key types: HookedPair (two models cut off at the last layer that is read), PairedForward (one batch
through both, copied to the host while the next one computes), Census (which tokens of which batch
give rows, counted before any model runs), NormLimits (which of these are outliers), Tally (how many
were, batch by batch), Sink (a store in the making); `dump.dump` writes a store per layer,
`reading.Pair` answers for a piece of text.
"""
