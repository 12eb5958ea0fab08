"""The one list of runs, whatever kind they are of, and the files of each."""
