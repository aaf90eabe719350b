"""What runs beside the judged tests, in their process.

Shipped as files of a stage, never imported by the judge itself.
"""
