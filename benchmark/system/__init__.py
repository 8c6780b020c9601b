"""System: files, processes, memory and machines. Nothing here knows of images."""
