"""What each latent fires on, and what it writes in each model.

example_pass.py   one pass over whole sequences, encoding the chosen latents alone
excerpts.py       `Windows`: the best rows of each latent with the text around them
histograms.py     `Activity`: exact histograms of active values, by group of tokens
records.py        `Records`: one dashboard per latent; `choose` says which get one
file.py           dashboards.jsonl.gz, and what each key holds
neuronpedia.py    the same in the JSON of SAEDashboard
run.py            puts these together, and says which latents write nearly the same
"""
