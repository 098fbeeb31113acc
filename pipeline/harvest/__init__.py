"""Harvesting runs both models of a pair to the hook point and keeps a row per token.

    token store -> census -> batches -> PairedForward -> Rows -> store or buckets
    [N, S] ids     which tokens give rows  both models    [R, M, D] bfloat16, labels per row

Every token gives a row but the one that starts a sequence, whose activations are unlike all others.
The grid of batches is fixed, so that a dump that was killed computes the same bits when it goes on.

Key types: HookedPair (two models cut off at a layer), PairedForward (one batch through both, copied
to the host while the next one computes), Census (which rows come from which batch, counted before
any model runs); `dump.dump` writes a store, `reading.Pair` answers for a piece of text.
"""
