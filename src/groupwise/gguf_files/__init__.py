"""GGUF files: what llama.cpp and its kin load, read into the model directories that are trained here."""
