"""One file per optional section of the page."""
