"""A stand-in for the answers of the explorer: drawn discs whose latents are known."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import dumps, loads
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import numpy as np
from PIL import Image

import pyrovae

__all__ = ["PAGE", "StandIn", "served"]

PAGE = Path(pyrovae.__file__).parent / "commands" / "explorer" / "page"
POLICY = "default-src 'self'; img-src 'self' data: blob:"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
SIDE = 32
Answer = dict[str, Any]


def picture(pixels: np.ndarray) -> str:
    """A PNG data URL of values in [0, 1], `(H, W, 3)`."""
    held = io.BytesIO()
    Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8)).save(held, "png")
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()


def disc(z: np.ndarray, side: int = SIDE) -> np.ndarray:
    """A disc: place, radius and colour follow the first six latents."""
    y, x = np.mgrid[0:side, 0:side] / (side - 1) * 2 - 1
    size = 0.35 + 0.15 * math.tanh(z[2])
    inside = np.hypot(x - 0.4 * math.tanh(z[0]), y + 0.4 * math.tanh(z[1])) / size
    alpha = (1 / (1 + np.exp(12 * (inside - 1))))[..., None]
    colour = 0.5 + 0.45 * np.tanh(z[3:6])
    return alpha * colour + (1 - alpha) * (0.92 + 0.04 * y[..., None])


def row(latents: np.ndarray, side: int = SIDE) -> str:
    return picture(np.concatenate([disc(z, side) for z in latents], 1))


class StandIn:
    """Answers as the explorer gives them, of `count` images.

    Args:
        count: the number of encoded images.
        sites: the sizes of the latent sites by name, 8 in all.
        given: attributes that the programs take.
    """

    def __init__(
        self, count: int = 400, sites: dict[str, int] | None = None, given: tuple[str, ...] = ()
    ) -> None:
        random = np.random.default_rng(0)
        self.loc = random.normal(size=(count, 8)) * np.linspace(1.4, 0.3, 8)
        self.scale = np.linspace(0.1, 0.9, 8)
        self.names = [f"test:{i}" for i in range(count)]
        self.sites, self.given = sites or {"z": 8}, given
        self.own: dict[str, np.ndarray] = {}
        self.asked: list[tuple[str, Answer]] = []
        self.wait = 0.0

    @property
    def answers(self) -> dict[str, Callable[[Answer], Answer]]:
        names = "run map colour thumbs ground decode image upload draws scores sliders"
        names += " directions attributes path nearest"
        return {name: getattr(self, name) for name in names.split()}

    def cover(self, z: np.ndarray) -> Answer:
        share = float(np.exp(-0.5 * max(0.0, float(np.linalg.norm(z[:2])) - 1.2) ** 2 * 3))
        thin = share < 0.01
        says = "Hardly any image is encoded here." if thin else "Images are encoded here."
        return {"share": share, "thin": thin, "says": says}

    def latents(self, name: str) -> np.ndarray:
        if name in self.own:
            return self.own[name]
        if name not in self.names:
            raise ValueError(f"no image {name!r}: allowed is test:0 to {self.names[-1]}")
        return self.loc[self.names.index(name)]

    def run(self, asked: Answer) -> Answer:
        starts = np.cumsum([0, *self.sites.values()])
        sites = [
            {"name": name, "start": int(start), "stop": int(start) + size}
            for (name, size), start in zip(self.sites.items(), starts, strict=False)
        ]
        colours = [{"name": "rate", "unit": "nats"}, {"name": "outlier score", "unit": ""}]
        return {
            "name": "discs",
            "split": "test",
            "count": len(self.names),
            "image": [3, SIDE, SIDE],
            "sites": sites,
            "dims": [f"{s}[{i}]" for s, size in self.sites.items() for i in range(size)],
            "given": [
                {"name": name, "kind": "two", "low": 0, "high": 1, "usual": 0.0}
                for name in self.given
            ],
            "colours": [*colours, {"name": "large", "unit": ""}, {"name": "kind", "unit": ""}],
            "methods": ["PCA", "t-SNE"],
            "notes": [],
            "images": self.names[:12],
            "uploads": True,
        }

    def map(self, asked: Answer) -> Answer:
        turn = 1 if asked["method"] == "PCA" else -1
        ends = np.linspace(-5, 5, 21)
        rows = [[self.cover(np.array([x, y]))["share"] for x in ends] for y in ends]
        return {
            "places": (turn * self.loc[:, :2]).tolist(),
            "names": self.names,
            "says": f"{asked['method']}: 71% of the variance",
            "thin": {"low": [-5.25, -5.25], "high": [5.25, 5.25], "rows": rows, "below": 0.01},
        }

    def colour(self, asked: Answer) -> Answer:
        name = asked["name"]
        values, kind, classes = self.loc[:, 2], "number", []
        if name == "large":
            values, kind, classes = (self.loc[:, 2] > 0).astype(float), "two", ["no", "yes"]
        if name == "kind":
            values, kind, classes = np.arange(len(self.loc)) % 3, "classes", ["a", "b", "c"]
        out = {"values": values.tolist(), "kind": kind, "classes": classes, "unit": "nats"}
        return {**out, "done": 1}

    def thumbs(self, asked: Answer) -> Answer:
        return {"sprite": row(self.loc[asked["rows"]], asked["size"]), "size": asked["size"]}

    def ground(self, asked: Answer) -> Answer:
        z = np.zeros((len(asked["places"]), 8))
        z[:, :2] = asked["places"]
        return {"z": z.tolist(), **self.decode({"z": z.tolist()})}

    def decode(self, asked: Answer) -> Answer:
        sleep(self.wait)
        z = np.asarray(asked["z"])
        predicted = {"large": {"value": 0.5, "error": 0.1}}
        return {
            "images": [picture(disc(own)) for own in z],
            "cover": [self.cover(own) for own in z],
            "predicted": [
                {**predicted, "large": {"value": float(1 / (1 + np.exp(-own[2]))), "error": 0.1}}
                for own in z
            ],
        }

    def image(self, asked: Answer) -> Answer:
        name = asked["name"]
        loc = self.latents(name)
        noise = np.random.default_rng(1).normal(size=(SIDE, SIDE, 3)) * 0.04
        return {
            "name": name,
            "picture": picture(disc(loc) + noise),
            "reconstruction": picture(disc(loc)),
            "loc": loc.tolist(),
            "scale": self.scale.tolist(),
            "place": {"PCA": loc[:2].tolist(), "t-SNE": (-loc[:2]).tolist()},
            "attributes": {"large": float(loc[2] > 0), "kind": None},
            "given": {own: 1.0 for own in self.given},
            "unknown": [],
        }

    def upload(self, asked: Answer) -> Answer:
        Image.open(io.BytesIO(asked["bytes"])).load()
        name = f"upload:{len(self.own) + 1}"
        self.own[name] = np.array([3.0, 0.5, 1, 1, -1, 0.2, 0, 0])
        return self.image({"name": name})

    def draws(self, asked: Answer) -> Answer:
        random = np.random.default_rng(asked["seed"])
        z = self.latents(asked["name"]) + self.scale * random.normal(size=(asked["count"], 8))
        images = np.stack([disc(own) for own in z])
        deviation = images.std(0)
        return {
            "images": [picture(own) for own in images],
            "deviation": picture(deviation / deviation.max()),
            "largest": float(deviation.max() * 255),
            "says": "standard deviation of the decoded draws",
        }

    def scores(self, asked: Answer) -> Answer:
        unlike = asked["name"] in self.own
        return {
            "rate": 12.3456,
            "distortion": -4321.5,
            "elbo": 4309.2,
            "bits_per_dim": 3.214,
            "log_evidence": 4311.8,
            "error": 0.31,
            "k_hat": 0.42,
            "typicality": 1.3,
            "p_value": 0.002 if unlike else 0.41,
            "unlike": unlike,
            "says": ["Unlike the training data: p = 0.002."] if unlike else [],
        }

    def sliders(self, asked: Answer) -> Answer:
        loc = self.latents(asked["name"])
        names = self.run({})["dims"]
        own = [
            {
                "dim": dim,
                "name": names[dim],
                "site": names[dim].split("[")[0],
                "kl": 2.5 - 0.3 * dim,
                "low": float(3.2 * self.loc[:, dim].min() / 3),
                "high": float(3.2 * self.loc[:, dim].max() / 3),
                "quantiles": np.quantile(self.loc[:, dim], [0.05, 0.25, 0.5, 0.75, 0.95]).tolist(),
                "loc": float(loc[dim]),
                "scale": float(self.scale[dim]),
            }
            for dim in range(7)
        ]
        return {"sliders": own, "idle": [names[7]], "says": "7 of 8 dimensions are active"}

    def directions(self, asked: Answer) -> Answer:
        own = [
            {
                "name": f"direction {k + 1}",
                "share": 0.5 / (k + 1),
                "vector": np.eye(8)[5 - k].tolist(),
                "low": -3.0,
                "high": 3.0,
                "scale": float(self.scale[5 - k]),
            }
            for k in range(5)
        ]
        return {"directions": own, "says": "principal directions of q(z | x)"}

    def attributes(self, asked: Answer) -> Answer:
        vector = np.zeros(8)
        vector[2] = 1.5
        large = {"name": "large", "vector": vector.tolist(), "low": 0.1, "high": 0.9}
        large |= {"score": 0.93, "error": 0.1, "says": "AUC 0.93"}
        return {"attributes": [large], "left_out": {"kind": "it has three classes"}}

    def path(self, asked: Answer) -> Answer:
        steps = np.linspace(0, 1, asked["steps"])[:, None]
        z = (1 - steps) * np.asarray(asked["first"]) + steps * np.asarray(asked["second"])
        shown = self.decode({"z": z.tolist()})
        return {
            "images": shown["images"],
            "z": z.tolist(),
            "density": (-0.5 * (z**2).sum(1)).tolist(),
            "usual": [-9.0, -3.0, -0.5],
            "cover": shown["cover"],
            "says": "log density of the aggregate posterior in nats",
        }

    def nearest(self, asked: Answer) -> Answer:
        distance = np.linalg.norm(self.loc - np.asarray(asked["z"]), axis=1)
        order = distance.argsort(kind="stable")[: asked["count"]]
        return {
            "names": [self.names[i] for i in order],
            "distances": distance[order].tolist(),
            "sprite": row(self.loc[order]),
            "size": SIDE,
        }


@contextmanager
def served(stand_in: StandIn) -> Iterator[str]:
    """Serves the page and the answers of a stand-in; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *said: Any) -> None:
            pass

        def reply(self, body: bytes, kind: str, code: int = 200) -> None:
            self.send_response(code)
            headers = {"Content-Type": kind, "Content-Security-Policy": POLICY}
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls.
            path = PAGE / (self.path.split("?")[0].strip("/") or "index.html")
            self.reply(path.read_bytes(), KINDS[path.suffix])

        def do_POST(self) -> None:  # noqa: N802
            name = self.path.rsplit("/", 1)[1]
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["X-Token"] == "token"
            asked = {"bytes": body} if name == "upload" else loads(body)
            stand_in.asked.append((name, asked))
            try:
                answer, code = stand_in.answers[name](asked), 200
            except (ValueError, OSError) as error:
                answer, code = {"error": str(error)}, 400
            self.reply(dumps(answer).encode(), "application/json", code)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/?token=token"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
