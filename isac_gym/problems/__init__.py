"""Problems: one folder per paper with ``scenario.py``, ``model.py`` and ``process.py``."""
