"""One command for whoever has a GPU: is latentgen correct there, how fast, and why not faster."""
