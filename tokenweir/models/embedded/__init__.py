"""The embedded model: llama.cpp on this machine."""
