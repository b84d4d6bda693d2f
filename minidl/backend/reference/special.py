"""Functions that the array modules lack."""

from __future__ import annotations

from typing import Any

# Coefficients of W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969), 631-637,
# as in his program CALERF; the relative error is below 1.2e-16.
_SMALL_P = (
    1.85777706184603153e-1,
    3.16112374387056560,
    1.13864154151050156e2,
    3.77485237685302021e2,
    3.20937758913846947e3,
)
_SMALL_Q = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
_MIDDLE_P = (
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1, 2.98635138197400131e2,
    8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3,
)  # fmt: skip
_MIDDLE_Q = (
    1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3, 3.29079923573345963e3,
    4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
)  # fmt: skip
_LARGE_P = (
    -1.63153871373020978e-2, -3.05326634961232344e-1, -3.60344899949804439e-1, -1.25781726111229246e-1,
    -1.60837851487422766e-2, -6.58749161529837803e-4,
)  # fmt: skip
_LARGE_Q = (
    1.0, 2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1, 6.05183413124413191e-2, 2.33520497626869185e-3,
)  # fmt: skip
_ONE_OVER_SQRT_PI = 0.56418958354775628695


def _polynomial(coefficients: tuple[float, ...], x: Any) -> Any:
    """Horner's rule, highest power first."""
    total = x * coefficients[0]
    for c in coefficients[1:-1]:
        total += c
        total *= x
    total += coefficients[-1]
    return total


class SpecialKernels:
    """Reference kernels for special functions."""

    xp: Any

    def erf(self, x: Any) -> Any:
        """The error function, 2/√π ∫₀ˣ exp(−t²) dt, by three rational approximations (Cody 1969)."""
        xp = self.xp
        if x.dtype.itemsize < 4:  # float16 has not the range for the steps on the way
            return self.erf(x.astype(xp.float32)).astype(x.dtype)
        size = xp.minimum(xp.abs(x), 6.0)  # erf(6) is 1 to the last bit of a double
        square = xp.minimum(size, 0.5) ** 2
        near = x * _polynomial(_SMALL_P, square) / _polynomial(_SMALL_Q, square)

        middle = xp.minimum(xp.maximum(size, 0.46875), 4.0)
        erfc = xp.exp(-middle * middle) * _polynomial(_MIDDLE_P, middle) / _polynomial(_MIDDLE_Q, middle)

        if x.dtype.itemsize > 4:  # beyond 4 a float is 1
            large = xp.maximum(size, 4.0)
            inverse = 1.0 / (large * large)
            tail = inverse * _polynomial(_LARGE_P, inverse) / _polynomial(_LARGE_Q, inverse)
            erfc_large = xp.exp(-large * large) / large * (_ONE_OVER_SQRT_PI + tail)
            erfc = xp.where(size > 4.0, erfc_large, erfc)

        far = xp.copysign(1.0 - erfc, x)
        return xp.where(size <= 0.46875, near, far).astype(x.dtype)
