"""What the gates found, kept beside the run."""
