"""Engines that train the runs of a sweep: as one program, as processes, under Slurm."""
