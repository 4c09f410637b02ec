"""Statistics of age estimates: arrays or frames in, plain dataclasses and frames out; nothing is read or written."""
