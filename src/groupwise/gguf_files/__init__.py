"""This package reads GGUF files, which llama.cpp and its kin load, into the model directories that are trained here."""
