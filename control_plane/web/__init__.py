"""What every route of the operator API shares: strict bodies, problem documents, tokens, pages."""
