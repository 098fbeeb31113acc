"""How charts look, and the kinds of mark that several questions draw.

look.py     `Palette`, specification and size of a chart; `image_files`: it as PNG and SVG
marks.py    curves, and points with intervals

What one question alone draws is in its own `chart.py`. A chart computes no statistic.
"""
