"""The sections of the page. A new one is a file here, its template, and a line in `order.py`."""
