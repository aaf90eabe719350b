"""What runs beside or inside agent code.

Standard library only: all of it is packed into one zipapp, `runner.pyz`.
"""
