"""One thin module per DVC stage: parse the configuration, call the library, publish."""
