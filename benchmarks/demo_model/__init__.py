"""How the embedded demo model and its SAEs were made; `attnrules` only loads what this has left behind."""
