"""The bundled executor: claims approved proposals and carries them out as its own catalogue says."""
