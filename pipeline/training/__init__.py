"""Training fits a crosscoder to the rows of a shuffled store.

    StoreReader -> Stream -> Run: normalise, Variant.step, Adam -> Checkpoints -> crosscoder/
    chunks    [B, M, D] rows      loss, gradients by hand       step-N/part-R.safetensors

The maths of a step is the variant's (`pipeline.crosscoder`). What is here feeds it rows, measures
their scale first (`statistics`), moves the weights (`optimiser`, `schedule`), reports
(`trackers`) and keeps the run resumable to the bit (`checkpoint`).

Key types: Training (a job: which crosscoder, which rows, which folder), Run (one job on its way),
Stream (the batches of all epochs), Checkpoint. `finished` tells whether a finished crosscoder fits,
before anything is made, and `pretrained` takes it over; `difference` presents a store as rows of
the difference of the models, `seeds` repeats a training.
"""
