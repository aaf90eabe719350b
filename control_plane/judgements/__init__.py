"""Judgements: what the gates find of one patch."""
