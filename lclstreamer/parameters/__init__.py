"""The configuration of LCLStreamer as pydantic models: once, for the engine and the API alike.

Nothing here reads data: a machine without psana, h5py or numpy validates every configuration.
"""
