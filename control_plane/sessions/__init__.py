"""Sessions: one agent working once; the product is a patch or a document."""
