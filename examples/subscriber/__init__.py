"""A subscriber of budeval's notifications; see `app`."""
