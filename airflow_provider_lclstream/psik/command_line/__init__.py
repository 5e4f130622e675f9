"""The verbs of ``lclstream psik``, on a folder or a service alike."""
