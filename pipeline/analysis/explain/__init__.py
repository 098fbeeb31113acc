"""A sentence for each change and latent, and how well it tells unseen text.

examples.py    `Chosen`: rows to show the writer, and others to judge by
asking.py      requests as messages, and what counts as an answer
writers.py     who is asked: an OpenAI-compatible endpoint, or a local folder
dialogue.py    `Dialogue`: what was answered is kept and never asked again; limits
run.py         `results/explanations.json`; result.py: its types
"""
