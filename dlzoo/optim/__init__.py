"""Learning-rate schedules by name: how the rate changes in a run."""
