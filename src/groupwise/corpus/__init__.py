"""This room makes a training corpus of web pages, as DeepSeekMath made its own: pages are read out of archives, turned
into text, deduplicated, chosen by a classifier in rounds, and freed of benchmark questions."""
