"""Whether other seeds give the same latents and verdicts.

    compare.py   `SeedRun`: the live latents of a run; MMCS, agreement and overlap of two runs
    chart.py     how alike the latents are, beside chance
    run.py       `compare_all`: judges every run and compares every pair

Run 0 is the experiment's own crosscoder, whose verdicts are there already.
"""
