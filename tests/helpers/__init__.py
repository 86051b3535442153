"""What tests share: running the program, problems with known answers, samples, a virtual SLURM."""
