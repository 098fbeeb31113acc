"""The page: it reads results and computes nothing."""
