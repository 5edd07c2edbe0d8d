"""Arguments of the network models, checked and brought to one form."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, dia_array

__all__ = ["Floats", "as_matrix", "as_vector", "refuse", "scale"]

Floats = NDArray[np.float64]


def as_matrix(values: "ArrayLike | csr_array", name: str, *, square: bool = False) -> csr_array:
    """A sparse copy of a dense or sparse matrix. Raises ValueError unless all is finite and not negative."""
    matrix = csr_array(values, dtype=float, copy=True)
    matrix.sum_duplicates()
    if matrix.ndim != 2 or (square and matrix.shape[0] != matrix.shape[1]):
        raise ValueError(f"{name}: shape {matrix.shape} is not {'square' if square else 'a matrix'}")
    wrong = ~(np.isfinite(matrix.data) & (matrix.data >= 0))
    if wrong.any():
        edges = matrix.tocoo()
        entry = int(np.flatnonzero(wrong)[0])
        where = f"({edges.row[entry]}, {edges.col[entry]})"
        raise ValueError(f"{name}: {matrix.data[entry]} at {where} must be finite and at least 0")
    return matrix


def as_vector(values: ArrayLike, name: str, length: int, lowest: float = 0.0) -> Floats:
    """A copy of shape (length,), of as many numbers or of one. Raises ValueError unless finite and >= `lowest`."""
    vector = np.asarray(values, float)
    if vector.shape not in {(), (length,)}:
        raise ValueError(f"{name}: shape {vector.shape} is not ({length},); give {length} numbers, or one for all")
    vector = np.broadcast_to(vector, (length,)).astype(np.float64)
    refuse(~(np.isfinite(vector) & (vector >= lowest)), name, f"must be finite and at least {lowest:g}")
    return vector


def refuse(wrong: NDArray[np.bool_], name: str, rule: str) -> None:
    """Raise ValueError for the first element that is `wrong`."""
    if wrong.any():
        raise ValueError(f"{name}: element {int(np.flatnonzero(wrong)[0])} {rule}")


def scale(matrix: csr_array, *, rows: Floats | None = None, columns: Floats | None = None) -> csr_array:
    """The matrix with every row, or column, times its own factor."""
    for factors, left in ((rows, True), (columns, False)):
        if factors is not None:
            diagonal = dia_array((factors[None, :], [0]), shape=(len(factors), len(factors)))
            matrix = diagonal @ matrix if left else matrix @ diagonal
    return csr_array(matrix)
