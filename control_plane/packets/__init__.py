"""ContextPackets (SPEC section 4.3): schema, canonical form, hash, storage."""
