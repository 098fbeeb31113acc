"""Which latents carry the fine-tuning: base activations are moved, and the IT model goes on.

    patches.py      the formula; `Batch`, `Replacements`, `CausalSums`: KL by sequence and group
    sets.py         sets of latents by verdict, nu and Delta, and random ones that fire as often
    responses.py    how far each token lies into an assistant turn
    run.py          `measure_sets`, and `causal_pass` for any maker of replacements
    table.py        figures with intervals over sequences; chart.py draws them

A set's name in `sets.DESCRIPTIONS` is the patch's name everywhere; `random_<set>` stands beside it.
"""
