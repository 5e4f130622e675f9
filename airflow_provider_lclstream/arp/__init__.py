"""The automated run processor: the logbook's run events start transfers."""
