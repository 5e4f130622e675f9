"""Serializers: a batch in, the bytes of one message out; and the way back."""
