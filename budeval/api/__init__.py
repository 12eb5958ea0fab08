"""What every route shares, whatever it is about: who may ask, how much, and how failures are answered."""
