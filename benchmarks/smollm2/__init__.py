"""How the SAEs for SmolLM2-135M-Instruct were made; `attnrules` only loads what this has left behind."""
