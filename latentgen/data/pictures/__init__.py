"""Folders and archives of pictures, prepared as arrays of equal-size images."""
