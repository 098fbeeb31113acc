"""How charts look, and the kinds of mark that several questions draw."""
