"""Read and check audio. The sound files of a manifest are opened here and nowhere else."""
