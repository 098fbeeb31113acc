"""What the models write for one activity, compared by products of two halves of the documents.

u_m = sum_t f_t y_m,t / sum_t f_t^2 is the least-squares vector of model m's rows y on activity f.
Its square carries the noise of its estimate, so |u|^2 comes out too large and a cosine too small.
Products of the two halves do not: noise of one half meets none of the other. With P_mn =
<u_m of one half, u_n of the other>,

    cosine = P_base,it / sqrt(P_base,base P_it,it),    strength = sqrt(P_it,it / P_base,base)

Letters: M models (base, IT); J, L whatever is compared side by side.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SMALLEST_NORM = 1e-4
"""Of |u_it|^2 or |u_base|^2 over the other, below which a norm is noise: strength 0.01 to 100."""


def compared(product_JMM: Floats) -> tuple[Floats, Floats, tuple[Floats, Floats]]:
    """Cosine, which noise can carry beyond 1, and ln strength [J]; and |u_base|^2, |u_it|^2."""
    base, it = product_JMM[:, 0, 0], product_JMM[:, 1, 1]
    base, it = (
        np.maximum(own, np.maximum(SMALLEST_NORM * other, 1e-30))
        for own, other in ((base, it), (it, base))
    )
    across = (product_JMM[:, 0, 1] + product_JMM[:, 1, 0]) / 2
    return across / np.sqrt(base * it), np.log(it / base) / 2, (base, it)
