"""Whose a latent is: latent scaling, and the tests that stand on it.

    scaling.py          one pass: `ScalingSums` by block of documents; `scaling`: beta and nu
    intervals.py        nu of resampled blocks
    evidence.py         tests by blocks, false discovery rates: `Evidence`
    table.py            `call` (the verdict), one row per latent
    twins.py            an exclusive verdict refuted by a learned twin
    elsewhere.py        ... or by the other model having the direction on other rows, which
    elsewhere_pass.py   counts in two passes
    written.py          what the models write of a latent, by halves of the documents: two passes
    kinds.py            of what both have: shared (alike), turned, stronger or weaker
    judge.py            all of these in order: from a crosscoder to `results/latents.parquet`
    columns.py, chart.py   what each column holds; the picture

One latent's way: sums -> nu -> p by blocks -> q over latents -> verdict -> twin -> elsewhere ->
kind.
"""
