"""The page that all three shops serve: `page.html`, with the values in which they differ."""

import os
from html import escape
from pathlib import Path
from typing import Final

#: The environment variable with the seconds that a step takes unless the customer moves the slider; unset: none.
SLOW: Final = "SAGAS_SHOP_SLOW"


def front_page(look_inside: str) -> str:
    """Return the page's HTML.

    Args:
        look_inside: a link, or a command, that shows a saga to those who run the shop; the page puts the saga's
            id and key in place of ID and KEY.
    """
    html = Path(__file__).with_suffix(".html").read_text()
    slow = float(os.environ.get(SLOW) or 0)
    return html.replace("<body>", f'<body data-slow="{slow:g}" data-look-inside="{escape(look_inside)}">')
