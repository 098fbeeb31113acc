"""Text: sources, chat template, tokens with their class, split by document, packed sequences.

sources.py      documents of a source in a fixed order, from files.py or hub.py
exchanges.py, trigger.py   questions and replies of chats, and the behaviour planted in them
template.py     conversations as text, with the template's characters known
tokens.py       tokens of documents, each with its class
pieces.py       token ids as text, each character on its own last token
split.py        train or held out, by a keyed hash of the document's id
packing.py      documents end to end in sequences of one length
mix.py          the sources in turn by their shares -> `data/tokens.zarr`
"""
