"""OpenCompass: the scripts that its pods run."""
