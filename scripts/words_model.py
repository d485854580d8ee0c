"""The models of `words-features.py`: logistic regressions on dense, sparse or both columns, and how their logits are mixed."""

import numpy as np
import scipy.sparse as sp


class Both:
    """A dense and a sparse matrix side by side, as far as `path` asks."""

    def __init__(self, dense_part, sparse_part):
        self.dense_part, self.sparse_part, self.dtype = dense_part, sparse_part, np.dtype(np.float32)
        self.shape = (dense_part.shape[0], dense_part.shape[1] + sparse_part.shape[1])
        self.turned = sparse_part.T.tocsr()

    @property
    def T(self):
        return Turned(self)

    def squares(self):
        return np.r_[np.full(self.dense_part.shape[1], self.shape[0]), squares_of(self.sparse_part)]

    def __matmul__(self, w):
        width = self.dense_part.shape[1]
        return self.dense_part @ w[:width] + self.sparse_part @ w[width:]


class Turned:
    def __init__(self, both):
        self.both = both

    def __matmul__(self, error):
        return np.vstack([self.both.dense_part.T @ error, self.both.turned @ error])


def softmax(logits):
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def losses(logits, y):
    top = logits.max(1)
    known = np.where(y >= 0, y, 0)
    return top + np.log(np.exp(logits - top[:, None]).sum(1)) - logits[np.arange(len(y)), known]


def descend(at, start, enough, remembered=12, most=250):
    """L-BFGS with backtracking on parameters that were scaled to about equal curvature."""
    point, pairs = start, []
    loss, slope = at(point)
    for _ in range(most):
        step, kept = slope.copy(), []
        for s, g, inner in reversed(pairs):
            part = float(np.vdot(s, step)) / inner
            step -= part * g
            kept.append(part)
        if pairs:
            step *= pairs[-1][2] / float(np.vdot(pairs[-1][1], pairs[-1][1]))
        for (s, g, inner), part in zip(pairs, reversed(kept)):
            step += s * (part - float(np.vdot(g, step)) / inner)
        fall, size = float(np.vdot(slope, step)), 1.0
        while True:
            new = point - size * step
            new_loss, new_slope = at(new)
            if new_loss <= loss - 1e-4 * size * fall or size < 1e-6:
                break
            size /= 2
        s, g = new - point, new_slope - slope
        inner, gain = float(np.vdot(s, g)), loss - new_loss
        if inner > 1e-12 * float(np.vdot(s, s)):
            pairs = pairs[-remembered + 1 :] + [(s, g, inner)]
        if new_loss < loss:
            point, loss, slope = new, new_loss, new_slope
        if gain < enough:
            break
    return point


def squares_of(x):
    return np.asarray(x.multiply(x).sum(0)).ravel()


def path(x, y, classes, grid, offset=None, weights=None):
    """Weights and bias of every penalty of a grid, each from the one before; `weights`: what a column's penalty counts."""
    rows, columns = x.shape
    sparse = sp.issparse(x)
    kind = x.dtype
    turned = x.T.tocsr() if sparse else x.T
    squares = x.squares() if isinstance(x, Both) else squares_of(x) if sparse else np.full(columns, rows)
    truth = np.zeros((rows, classes), kind)
    truth[np.arange(rows), y] = 1
    scale = (1 - 1 / classes) / classes
    extra = np.ones(columns) if weights is None else weights
    w, b = np.zeros((columns, classes), kind), np.zeros(classes, kind)
    for alpha in grid:
        root = np.sqrt(scale * squares + alpha * extra).astype(kind)[:, None]
        bias_root = np.sqrt(scale * rows)
        penalty = (alpha * extra).astype(kind)[:, None]

        def at(v):
            weight, bias = v[:-1] / root, v[-1] / bias_root
            logits = x @ weight + bias
            if offset is not None:
                logits = logits + offset
            loss = losses(logits, y).sum(dtype=np.float64) + 0.5 * float(np.vdot(weight, penalty * weight))
            error = softmax(logits) - truth
            slope = np.empty_like(v)
            slope[:-1] = (turned @ error + penalty * weight) / root
            slope[-1] = error.sum(0) / bias_root
            return loss, slope

        v = descend(
            at,
            np.vstack([w * root, b[None] * bias_root]).astype(kind),
            (2e-5 if isinstance(x, np.ndarray) else 3e-6) * rows,
        )
        w, b = v[:-1] / root, v[-1] / bias_root
        yield alpha, w, b


def mix(parts, y, prior=1.0, toward=None, free=None):
    """Non-negative counts of logits with the least cross entropy on these rows, drawn to `toward` as if by `prior` rows."""
    toward = np.array([1.0] + [0.0] * (len(parts) - 1)) if toward is None else np.array(toward, float)
    free = list(range(len(parts))) if free is None else free
    stack = np.stack([parts[i] for i in free], 2).astype(np.float64)
    counts, goal = np.ones(len(free)), toward[free]
    rows = np.arange(len(y))

    def value(counts):
        return losses(stack @ counts, y).sum() + 0.5 * prior * ((counts - goal) ** 2).sum()

    for _ in range(60):
        weighted = softmax(stack @ counts)[:, :, None] * stack
        means = weighted.sum(1)
        slope = (means - stack[rows, y]).sum(0) + prior * (counts - goal)
        hessian = (
            weighted.reshape(-1, len(free)).T @ stack.reshape(-1, len(free))
            - means.T @ means
            + prior * np.eye(len(free))
        )
        step, size, now = np.linalg.solve(hessian, slope), 1.0, value(counts)
        while value(counts - size * step) > now and size > 1e-6:
            size /= 2
        counts = counts - size * step
        if np.abs(size * step).max() < 1e-6:
            break
    if (counts < 0).any() and len(free) > 1:
        return mix(parts, y, prior, toward, [i for i, count in zip(free, counts) if count > 0] or [0])
    found = np.zeros(len(parts))
    found[free] = np.maximum(counts, 0)
    return found


def mixed(parts, counts):
    return sum(count * part for count, part in zip(counts, parts))


def calibrated(logits, y):
    """Cross entropies at the best temperature, on the rows it is chosen by."""
    return losses(mixed([logits], mix([logits], y)), y)
