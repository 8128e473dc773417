"""The lessons: scripts of `# %%` cells. `make lesson-03`, or `python lessons/03_transformer.py`."""
