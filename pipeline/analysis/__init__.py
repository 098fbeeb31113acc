"""What the crosscoder tells of the two models: one package per question, named like its stage.

A stage opens (`opening.Opened`), passes over rows of a store once (`heldout.Window`) with
sums kept per group of tokens (`groups`) and per unit of whole sequences (`heldout.Units`), and
turns sums into figures with intervals (`bootstrap.Bootstrap`). Every package has a `run.py` where
the stage has more to put together than one call; a pass keeps arrays in a dataclass whose fields
end in letters for their axes (each file has the legend); tables are columns (`pipeline.columns`).

    opening     inputs, device, crosscoder, language models, readers    bootstrap  intervals
    heldout     rows in batches, units behind intervals                 groups     source x class
    blocks      tests over blocks of documents, false discovery rates; what the models write,
                compared by halves of the blocks
    splicing    a language model continued from a patched activation    lens       logit lens
    charts      palette, image files, marks that several charts share

Packages stand on these files, and on each other one way only: see `tests/test_layers.py`.
"""
