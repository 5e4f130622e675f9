"""The electronic logbook: its messages on Kafka and its REST interface."""
