"""A sentence for each change and latent, and how well it tells unseen text.

asked.py       how much would be asked, and of whom
examples.py    `Chosen`: rows to show the writer, and others to judge by
asking.py      requests to an endpoint as messages, and what counts as an answer
plain.py       the same for a local model, which may keep to no form
writers.py     `Writer`, and an OpenAI-compatible endpoint; local.py: a local folder
dialogue.py    `Dialogue`: what was answered is kept and never asked again; limits
ways.py        the two ways of asking: JSON answers, or plain text and likelihood
scores.py      balanced accuracy and area under the ROC curve, and their means
run.py         `results/explanations.json`; result.py: its types
"""
