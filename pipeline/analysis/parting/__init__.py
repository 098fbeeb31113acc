"""Where the models part: the tokens after which they predict most differently, and what carries it.

screening.py     `Screened`: KL(IT || base) after every token of sampled sequences; the largest
attribution.py   `Scene`: one such token; its KL's gradient at the hook point, and patches
carriers.py      `Subject`: what may carry a KL, changes and latents; attribution beside patch
run.py           `results/parting.json` and `.parquet`; result.py: their types
"""
