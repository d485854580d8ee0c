#!/usr/bin/env python3
"""scikit-learn's LogisticRegression (lbfgs) as a peer, on the rows that a run of frosthead's trained on, standardised, with its penalty.

questions: {"load": {"features": PARQUET, "run": DIR, "task": NAME, "alpha": A}} reads and standardises (not timed)
           {"pass": {"dtype": "float64" or "float32", "tol": T}} fits (its own defaults: the dtype it is given, 1e-4)
           {"losses": {}} final losses of the last fit and of the run's head: the same objective, in float64
needs: scikit-learn, numpy, pyarrow, safetensors.
"""

import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from worker import answers, serve


class Fits:
    def load(self, request):
        table, run = pq.read_table(request["features"]), Path(request["run"])
        trained = {bytes(row) for row in load_file(run / "rows.safetensors")["train"]}
        training = np.array([bytes.fromhex(text) in trained for text in table["text_hash"].to_pylist()])
        cells = np.array(table[request["task"]].to_pylist())[training]
        self.names, self.labels = np.unique(cells, return_inverse=True)
        vectors = (
            table["embedding"]
            .combine_chunks()
            .flatten()
            .to_numpy()
            .reshape(len(training), -1)[training]
            .astype(np.float64)
        )
        self.mean, self.deviation = vectors.mean(axis=0), vectors.std(axis=0)
        # A feature that hardly varies gets no weight, as in frosthead.
        self.scale = np.where(
            self.deviation > 1e-6 * self.deviation.max(),
            1 / np.where(self.deviation > 0, self.deviation, 1),
            0,
        )
        self.x = {"float64": (vectors - self.mean) * self.scale}
        self.x["float32"] = self.x["float64"].astype(np.float32)
        self.request, self.model = request, None
        return {"rows": len(self.labels), "features": vectors.shape[1], "classes": len(self.names)}

    def fit(self, settings):
        # max_iter: so many that it ends by its tolerance.
        model = LogisticRegression(C=1 / self.request["alpha"], tol=settings.get("tol", 1e-4), max_iter=5000)
        start = time.perf_counter()
        self.model = model.fit(self.x[settings.get("dtype", "float64")], self.labels)
        return {"seconds": time.perf_counter() - start, "iterations": int(model.n_iter_.max())}

    def losses(self, _):
        heads = load_file(Path(self.request["run"]) / "heads.safetensors")
        weight, bias = (
            heads[f"heads.{self.request['task']}.{part}"].astype(np.float64) for part in ("weight", "bias")
        )
        # The run's head takes features as they are; on standardised ones the same function has these weights.
        ours = self.objective(weight * np.where(self.scale > 0, self.deviation, 0), bias + weight @ self.mean)
        return {
            "scikit-learn": self.objective(
                self.model.coef_.astype(np.float64), self.model.intercept_.astype(np.float64)
            ),
            "frosthead": ours,
        }

    def objective(self, weights, bias):
        logits = self.x["float64"] @ weights.T + bias
        loss = (logsumexp(logits, axis=1) - logits[np.arange(len(logits)), self.labels]).sum()
        return float(loss + self.request["alpha"] / 2 * (weights**2).sum())


if __name__ == "__main__":
    fits = Fits()
    serve({"load": fits.load, "pass": fits.fit, "losses": fits.losses}, answers())
