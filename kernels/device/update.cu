// The update of algorithm 2 on the flat vector.

#include "common.cuh"

struct alignas(4 * sizeof(real)) Quad {
    real x[4];
};

// parameters -= rate * gradient; `control` records the first step with NaN or Inf.  `size`
// is a multiple of 4, as the flat vector is padded.
extern "C" __global__ void __launch_bounds__(256) update(
    real* parameters, const real* gradient, long long size, real rate, Control* control) {
    long long k = 4 * ((long long)blockIdx.x * blockDim.x + threadIdx.x);
    if (k >= size) {
        return;
    }
    Quad p = *(const Quad*)(parameters + k), g = *(const Quad*)(gradient + k);
    real probe = 0;
    for (int i = 0; i < 4; ++i) {
        p.x[i] -= rate * g.x[i];
        probe += g.x[i] * real(0);  // 0 only for finite numbers
    }
    *(Quad*)(parameters + k) = p;
    if (probe != real(0)) {
        // `output_delta` has already counted this step.
        atomicMin(&control->first_bad, (unsigned long long)(control->step - 1));
    }
}
