"""What the platform costs, as ratios inside one run (`make bench`; docs/performance.md).

Not a test: nothing here fails on a time.
"""
