"""The loops that drive runs: claim, look at the world, do the one next thing, write it down."""
