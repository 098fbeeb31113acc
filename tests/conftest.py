"""One thread per test process: two of them share two cores, and spinning threads would fight."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
