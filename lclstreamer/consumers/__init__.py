"""What stands at the far end of a stream: programs that take messages and put them to use."""
