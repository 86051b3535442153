// Copy rows of the dataset, which is on the device in its stored type (FEATURE), to the inputs
// of a minibatch.  One block copies one row.

#include "common.cuh"
#include "permutation.cuh"

typedef FEATURE feature;

// Four elements at a time if the width is a multiple of four: rows then begin on whole packs.
struct alignas(4 * sizeof(feature)) Features {
    feature x[4];
};
struct alignas(4 * sizeof(real)) Inputs {
    real x[4];
};

__device__ inline void copy_row(
    const feature* __restrict__ source, real* __restrict__ target, int width, real scale,
    real offset) {
    if (width % 4 == 0) {
        for (int j = threadIdx.x; j < width / 4; j += blockDim.x) {
            Features pack = ((const Features*)source)[j];
            Inputs scaled;
            for (int i = 0; i < 4; ++i) {
                scaled.x[i] = real(pack.x[i]) * scale + offset;
            }
            ((Inputs*)target)[j] = scaled;
        }
        return;
    }
#pragma unroll 4
    for (int j = threadIdx.x; j < width; j += blockDim.x) {
        target[j] = real(source[j]) * scale + offset;
    }
}

// With `control` gather the rows at its position in the epoch's order, else from row `first` on.
extern "C" __global__ void __launch_bounds__(128) gather(
    const feature* features, const int* labels, long long rows, int width, int bits,
    const Control* control, long long first, real scale, real offset, real* inputs,
    int* targets) {
    __shared__ shared<long long> number;
    long long i = blockIdx.x;
    if (threadIdx.x == 0) {
        long long row = first + i;
        if (control) {
            row = permuted(control->key, control->position + i, rows, bits);
        }
        targets[i] = labels[row];
        number = row;
    }
    __syncthreads();
    copy_row(features + number * width, inputs + i * width, width, scale, offset);
}
