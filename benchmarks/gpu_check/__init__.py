"""What must hold on a CUDA card, checked by one command: `make gpu-check`.

    checks.py    a finding, and the list of them: a table on the terminal, and JSON
    steps.py     training steps: gradients, updates and weights against the CPU, equal bits, waits
    products.py  the gathered and the Triton forms of a step's products against the dense one
    models.py    dump and tuning: against the CPU, equal bits
    graph.py     every analysis of the experiment `smoke` on rows that the CPU made
    ranks.py     a training job in two processes, one card each
    speed.py     rates and shares of the card, memory

Nothing here is a stage, and nothing is kept. What needs no figures of time runs on any device that
PyTorch has tensors on.
"""
