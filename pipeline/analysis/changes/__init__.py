"""What fine-tuning changed: directions of h_it - h_base, found on training rows, tested on others.

lines      difference rows -> the directions they lie along (found, and coded by)
measure    one pass over held-out rows: sums per block of documents
judge      sums -> shares, kinds, tests, the list
latents    the crosscoder latents that a change rests on
patches    a change undone in the IT model, or made in base
reading    promoted tokens and examples in context
records    the entry of the list, and what each of its figures means
"""
