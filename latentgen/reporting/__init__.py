"""Pages about runs and sweeps: folders in, one self-contained HTML file out."""
