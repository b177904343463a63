"""The app of the soak with a leak in it: `test_soak` sees that it is found."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "soak"))

from app import app, main

kept = []


@app.middleware
async def keep(ws, next):
    kept.append(ws)
    return await next(ws)


if __name__ == "__main__":
    main()
