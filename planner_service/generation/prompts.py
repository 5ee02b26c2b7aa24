"""The words a model is given: rules, catalogue, examples made of the catalogue itself, and the request as data.

Nothing here is rendered by a template engine: prompt and context are put beside the instructions, never into them.
"""

from __future__ import annotations
