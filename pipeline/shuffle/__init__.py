"""An exact uniform permutation of a store's rows, in bounded memory, resumable at any moment."""
