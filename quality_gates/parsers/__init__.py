"""Raw tool outputs, which are hostile, to values; a parser raises ParseError and nothing else."""
