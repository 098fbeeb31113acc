"""What the decoder vectors alone say of a latent: relative norm and cosine.

    geometry.py    `Geometry` of decoders [L, M, D]; the published criteria (`CRITERIA`) and bins
    summaries.py   `Latents` of `results/latents.parquet`: histograms, and the numbers that sum up
    charts.py      the two histograms, and every latent as a dot

Limits on the relative norm stand in `geometry.CRITERIA` and nowhere else.
"""
