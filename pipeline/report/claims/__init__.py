"""What the page's first screen claims, as typed data from which its sentences are made.

changes.py   `change_claims`: the list of changes in words, with its evidence
behaviour.py `behaviour`: the text that the IT model predicts better, and worse
trust.py     `failings`, `cautions`: how far to trust it
screen.py    `first_screen`: everything else; `claims_file`: what `results/findings.json` holds
"""
