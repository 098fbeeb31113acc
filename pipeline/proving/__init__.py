"""The proof: planted truth, null pairs and seeds, each experiment in a workspace of its own."""
