"""What an experiment will need, stage by stage, before anything runs.

terms.py     `estimate`: units of work, disk and memory of every stage, priced by `Rates`
measure.py   `rates_here`: seconds per unit, measured on this machine
rates.py     `Work` and its `Rates`; those of a card, by arithmetic; `Machine`: disk and memory here
tables.py    costs as text; rows stored or made in rounds, and rounds that fit
missing.py   what stands between an experiment and its first result: the parts are asked
"""
