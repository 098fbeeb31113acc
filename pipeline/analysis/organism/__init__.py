"""Whether latents carry a behaviour that a triggered chat source planted in the IT model.

selectivity.py   `PlantedSums`: what every latent fires on, on two halves of the documents
sets.py          `Chosen`: latents chosen on one half, and random ones against them
behaviour.py     log probability of the planted reply with latents taken out or put in
effects.py       `Bench`, ablations and steerings, each beside its random sets
examples.py      replies written out, for reading
chart.py         the results as a table, and its picture
run.py           `results/organism.json`
"""
