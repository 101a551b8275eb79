"""The documentation site.

python -m scripts.docs                      build it, strictly, into build/docs/site
python -m scripts.docs serve                build it, and serve it on http://127.0.0.1:8000
python -m scripts.docs pictures [NAME …]    make the pictures of the zoo again, by short runs
python -m scripts.docs notebooks [NAME …]   execute notebooks, and make their pages again
"""

from __future__ import annotations

import functools
import http.server
import sys

from scripts.docs import assembly


def main() -> None:
    match sys.argv[1:]:
        case []:
            assembly.build()
        case ["serve"]:
            assembly.build()
            handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(assembly.SITE))
            http.server.ThreadingHTTPServer(("127.0.0.1", 8000), handler).serve_forever()
        case ["pictures", *names]:
            from scripts.docs import pictures

            pictures.make(names)
        case ["notebooks", *names]:
            from scripts.docs import notebooks

            notebooks.make(names)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
