"""The model pair: hub, local, trained or tuned; where it is read; how it is continued."""
