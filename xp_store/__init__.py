"""The xp_store room."""
