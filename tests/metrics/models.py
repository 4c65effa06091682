"""Two models whose log p(x) is known otherwise: a linear one exactly, a nonlinear one by a grid."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats


class Linear(NamedTuple):
    """x = W z + mu + std eps with z ~ N(0, I), and n examples x; NumPy in float64 is the judge."""

    w: np.ndarray
    mu: np.ndarray
    std: float
    z: np.ndarray
    x: np.ndarray

    def log_prior(self, z):
        return jax.scipy.stats.norm.logpdf(z).sum(axis=-1)

    def log_likelihood(self, z):
        mean = (
            jnp.einsum("knd,Dd->knD", z, self.w.astype(z.dtype))
            + self.mu.astype(z.dtype)[None, None]
        )
        return jax.scipy.stats.norm.logpdf(self.x.astype(z.dtype)[None], mean, self.std).sum(-1)

    def sample_prior(self, c):
        return lambda key: jax.random.normal(key, (c, *self.z.shape))

    def exact(self):
        covariance = self.w @ self.w.T + self.std**2 * np.eye(len(self.mu))
        return scipy.stats.multivariate_normal(self.mu, covariance).logpdf(self.x)

    def posterior(self, b=1.0):
        """Means (n, d) and covariance (d, d) of p(z) p(x|z)^b."""
        covariance = np.linalg.inv(np.eye(self.w.shape[1]) + b * self.w.T @ self.w / self.std**2)
        return b * (self.x - self.mu) @ self.w @ covariance / self.std**2, covariance


def linear(n, pixels=5, dim=2, std=0.6, seed=0) -> Linear:
    rng = np.random.default_rng(seed)
    w, mu = rng.normal(size=(pixels, dim)), rng.normal(size=pixels)
    z = rng.normal(size=(n, dim))
    return Linear(w, mu, std, z, z @ w.T + mu + std * rng.normal(size=(n, pixels)))


class Curved(NamedTuple):
    """Bernoulli pixels, with logits b tanh(a z) for a code of one or two coordinates."""

    a: np.ndarray
    b: np.ndarray
    z: np.ndarray
    x: np.ndarray

    def log_prior(self, z):
        return jax.scipy.stats.norm.logpdf(z).sum(axis=-1)

    def log_likelihood(self, z):
        hidden = jnp.tanh(jnp.einsum("knd,dh->knh", z, self.a.astype(z.dtype)))
        logits = jnp.einsum("knh,hD->knD", hidden, self.b.astype(z.dtype))
        return (self.x.astype(z.dtype)[None] * logits - jax.nn.softplus(logits)).sum(-1)

    def sample_prior(self, c):
        return lambda key: jax.random.normal(key, (c, *self.z.shape))

    def exact(self):
        """The integral over the code on a grid, as good as exact for a smooth integrand."""
        line = np.linspace(-8, 8, 801 if self.a.shape[0] == 1 else 161)
        z = np.stack(np.meshgrid(*[line] * self.a.shape[0]), axis=-1).reshape(-1, self.a.shape[0])
        logits = np.tanh(z @ self.a) @ self.b
        on, off = scipy.special.log_expit(logits), scipy.special.log_expit(-logits)
        log_joint = (
            self.x @ on.T + (1 - self.x) @ off.T + scipy.stats.norm.logpdf(z).sum(axis=1)[None]
        )
        volume = (line[1] - line[0]) ** self.a.shape[0]
        return scipy.special.logsumexp(log_joint, axis=1) + np.log(volume)


def curved(n, dim, pixels=9, seed=0) -> Curved:
    rng = np.random.default_rng(seed)
    a, b = 1.5 * rng.normal(size=(dim, 4)), 1.5 * rng.normal(size=(4, pixels))
    z = rng.normal(size=(n, dim))
    probability = scipy.special.expit(np.tanh(z @ a) @ b)
    return Curved(a, b, z, (rng.uniform(size=probability.shape) < probability).astype(float))
