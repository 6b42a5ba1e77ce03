"""Where an ingest takes from: the model, the SAEs and the corpus, on this machine or on the hub.

Each is found, then loaded and checked on its own; nothing here knows of a warehouse or of an ingest. The
heavy libraries are imported inside functions.
"""
