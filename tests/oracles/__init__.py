"""Independent re-derivations in NumPy, SciPy and CVXPY; they import nothing from the package."""
