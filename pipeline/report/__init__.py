"""The page: it reads results and computes nothing.

findings.py    `Findings`: results, configuration and manifests of one run, each read by its type;
               the runs that made them
section.py     a section of the page with its charts: what it shows, one file each in `sections/`
grid.py, format.py, labels.py   tables, numbers and names as the page writes them
shares.py      where latents fire, as shares of their firing
browser.py     the latent browser's data: columns of all latents, packed dashboards
page.py        everything in one offline HTML file; its templates and scripts are in `assets/`
summary.py     `results/summary.json`, the figures by which DVC compares runs
"""
